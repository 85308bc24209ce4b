"""Gather what the runs in a study's folder have found, also if the study was stopped on its way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from lit_cifar.study.artifacts import read_evaluation, read_examples
from lit_cifar.study.environment import environment
from lit_cifar.study.finished import Row, history, kept_row
from lit_cifar.study.looking import LOOKS_FILE
from lit_cifar.study.looks import MOST_ROUNDS, read_looks
from lit_cifar.study.plan import RATE_FACTORS, PlannedRun, plan_runs, plan_searches
from lit_cifar.study.record import description, read_record
from lit_cifar.study.result import Findings
from lit_cifar.study.schema import Changes, Study
from lit_cifar.study.shipped import shipped_studies
from lit_cifar.study.study_file import load_study
from lit_cifar.study.timing import timings_table
from lit_cifar.utils.errors import UserError

Found = Sequence[tuple[PlannedRun, Row]]
Left = TypeVar("Left")


def read_findings(folder: Path, study: Study | None = None) -> Findings:
    """The results of a study, from its folder or from a record of it.

    Args:
        folder: The folder of a study, or a record that `write_record` has written.
        study: The questions. Default: those of the study.

    Raises:
        UserError: If there is no study in the folder, or it doesn't say what was asked.
    """
    if not (folder / "runs").is_dir():
        return read_record(folder, study)
    asked, facts = description(folder) or _of_an_earlier_version(folder, study)
    return gathered(folder, study or asked, facts)


def _of_an_earlier_version(folder: Path, study: Study | None) -> tuple[Study, dict[str, Any]]:
    """The description of a study whose folder has none: only its name, which may be a shipped study's."""
    path = folder / "study.json"
    owner = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    name = owner.get("study", "")
    if study is None and name not in shipped_studies():
        raise UserError(f"{folder} doesn't say what was asked: give the study, study=…")
    asked = study or load_study(name)
    if study is None:
        asked = asked.quickly() if owner.get("quick") else asked
        asked = asked.changed(Changes(val_size=_protocol(folder).get("val_size")))
    command = f"lit-cifar compare --study {name or asked.name}"
    return asked, {"data": owner.get("data", ""), "command": command, "environment": environment()}


def _protocol(folder: Path) -> dict[str, Any]:
    """The protocol of any of the runs; the command line may have changed the study's."""
    for path in sorted(folder.glob("runs/*/*/result.json")):
        plan = json.loads(path.read_text(encoding="utf-8")).get("plan", {})
        return dict(plan.get("protocol", {}))
    return {}


def gathered(folder: Path, study: Study, facts: Mapping[str, Any]) -> Findings:
    """The results of the runs in a study's folder.

    Args:
        folder: The folder.
        study: The study.
        facts: The `data`, `command` and `environment` to name.
    """
    planned = plan_runs(study, {})
    found = _rows(planned, folder)
    ok = [(run, row) for run, row in found if row["status"] == "ok"]
    data_source = str(facts["data"])
    return Findings(
        study=study,
        results=pd.DataFrame([{**row, "data_source": data_source} for _, row in found], columns=_columns(found)),
        histories={(run.name, run.seed): history(run, folder) for run, _ in found},
        data_source=data_source,
        command=str(facts["command"]),
        looks=read_looks(folder / LOOKS_FILE),
        searches=_searches(study, folder),
        varied={
            kind: _with_epochs(_rows([replace(run, kind=kind) for run in planned], folder), folder)
            for kind in RATE_FACTORS
        },
        timings=_timings(planned, folder),
        evaluations=_left_by(ok, folder, read_evaluation),
        examples={name: rows for (name, _), rows in _left_by(ok, folder, read_examples).items()},
        environment=facts["environment"],
    )


def _timings(planned: Sequence[PlannedRun], folder: Path) -> pd.DataFrame:
    rounds = [
        replace(run, kind="timing", seed=number) for run in planned if run.seed == 0 for number in range(MOST_ROUNDS)
    ]
    return timings_table(row for _, row in _rows(rounds, folder))


def _rows(runs: Sequence[PlannedRun], folder: Path) -> Found:
    rows = ((run, kept_row(run, folder)) for run in runs)
    return [(run, row) for run, row in rows if row is not None]


def _columns(found: Found) -> list[str] | None:
    return None if found else ["run", "seed", "status"]


def _with_epochs(found: Found, folder: Path) -> tuple[pd.DataFrame, dict[tuple[str, int], pd.DataFrame]]:
    table = pd.DataFrame([row for _, row in found], columns=_columns(found))
    return table, {(run.name, run.seed): history(run, folder) for run, _ in found}


def _searches(study: Study, folder: Path) -> dict[str, Any]:
    """The searches that have succeeded."""
    found = _rows(plan_searches(study, {}), folder)
    paths = {run.name: folder / run.folder / "lr_find.json" for run, row in found if row["status"] == "ok"}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


def _left_by(found: Found, folder: Path, read: Callable[[Path], Left | None]) -> dict[tuple[str, int], Left]:
    left = {(run.name, run.seed): read(folder / run.folder) for run, _ in found}
    return {key: value for key, value in left.items() if value is not None}

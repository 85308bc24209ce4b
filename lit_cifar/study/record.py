"""The record of a study: a few plain files from which it can be judged anew, small enough to publish."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
import yaml

from lit_cifar.study.environment import environment
from lit_cifar.study.looking import LOOKS_FILE
from lit_cifar.study.looks import read_looks, write_looks
from lit_cifar.study.paired import Histories
from lit_cifar.study.plan import RATE_FACTORS
from lit_cifar.study.result import Findings
from lit_cifar.study.schema import Study
from lit_cifar.study.study_file import NOT_IN_FILES, parse_study
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import csv_text, read_csv, write_text

STUDY, ENVIRONMENT = "study.yaml", "environment.json"
"""The study's questions and runs; and its name, data, machine and versions."""

RESULTS, EPOCHS, LAYERS, OTHER_RATES, TIMINGS, SEARCHES = (
    "results.csv",
    "epochs.csv",
    "layers.csv",
    "other_rates.csv",
    "timings.csv",
    "searches.json",
)

CURVES = ("epoch", "train/loss", "train/accuracy", "train/seconds", "val/loss", "val/accuracy")
"""The columns of `epochs.csv` beside the run's name, rate and seed."""

OF_LAYERS = "layer_"
"""How columns of `layers.csv` begin: what was logged of each layer in a run's epoch with the lowest validation loss."""

FOLDERS = re.compile(r"(?<![\w.:/\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\]+[/\\])+")
"""The folders of an absolute path in a text, with the separator before the last part."""

TEXTS = ("run", "rate", "variant", "status", "reason", "data_source")
DIGITS, DIGITS_OF_FIGURES = 7, 5
"""Digits of scores and losses, and of what only figures show: the curves of learning-rate searches, and layers."""


def describe(study: Study, folder: Path, *, data_source: str, data_fingerprint: str, command: str) -> None:
    """Write into a folder what is asked there, of which data, and on which machine.

    Args:
        study: The study as it is run, with what the command line has changed.
        folder: The folder.
        data_source: The name of the data.
        data_fingerprint: A digest of the images.
        command: What was typed.
    """
    facts = {
        "study": study.name,
        "quick": study.is_quick,
        "data": data_source,
        "data_fingerprint": data_fingerprint,
        "command": command,
        "environment": environment(),
    }
    _write_description(study, facts, folder)


def description(folder: Path) -> tuple[Study, dict[str, Any]] | None:
    """What `describe` has written into a folder: the study and the other facts; None if there is nothing."""
    if not (folder / STUDY).is_file() or not (folder / ENVIRONMENT).is_file():
        return None
    facts: dict[str, Any] = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    study = parse_study(
        (folder / STUDY).read_text(encoding="utf-8"), source=str(folder / STUDY), name=str(facts["study"])
    )
    return study.model_copy(update={"is_quick": facts["quick"]}), facts


def write_record(findings: Findings, folder: Path) -> None:
    """Write everything that judging a study needs: its description, tables, looks and searches.

    Args:
        findings: Results of the study, with the seeds after its last look.
        folder: The folder, which is made if needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "study": findings.study.name,
        "quick": findings.study.is_quick,
        "data": findings.data_source,
        "command": findings.command,
        "environment": dict(findings.environment),
    }
    _write_description(findings.study, facts, folder)
    rates = {kind: found for kind, (found, _) in findings.varied.items() if len(found)}
    tables = {
        RESULTS: findings.results,
        EPOCHS: _all_epochs(findings),
        LAYERS: _layers(findings.histories),
        TIMINGS: findings.timings,
        OTHER_RATES: pd.concat(rates, names=["rate"]).reset_index("rate") if rates else pd.DataFrame(),
    }
    for name, table in tables.items():
        if len(table):
            digits = DIGITS_OF_FIGURES if name == LAYERS else DIGITS
            write_text(folder / name, csv_text(table, digits=digits))
        else:
            (folder / name).unlink(missing_ok=True)
    write_looks(findings.looks, folder / LOOKS_FILE, plan="")
    write_text(folder / SEARCHES, json.dumps(_rounded(findings.searches)))


def read_record(folder: Path, study: Study | None = None) -> Findings:
    """Read what `write_record` has written.

    Args:
        folder: The folder.
        study: The questions. Default: those of the study.

    Raises:
        UserError: If the folder holds no record.
    """
    if (described := description(folder)) is None or not (folder / RESULTS).is_file():
        raise UserError(f"{folder} holds no study: give the folder of a study, or a record of one.")
    asked, facts = described
    epochs = _table(folder / EPOCHS)
    others = _table(folder / OTHER_RATES)
    return Findings(
        study=study or asked,
        results=_table(folder / RESULTS),
        histories=_with_layers(_histories(epochs, "chosen"), _table(folder / LAYERS)),
        data_source=str(facts["data"]),
        command=str(facts["command"]),
        looks=read_looks(folder / LOOKS_FILE),
        searches=json.loads((folder / SEARCHES).read_text(encoding="utf-8")),
        varied={
            kind: (others[others["rate"] == kind].drop(columns="rate"), _histories(epochs, kind))
            for kind in RATE_FACTORS
            if len(others)
        },
        timings=_table(folder / TIMINGS),
        environment=facts["environment"],
    )


def for_others(findings: Findings, *, data_name: str) -> Findings:
    """The same results without the names of this machine's folders, to publish them.

    Args:
        findings: Results of a study.
        data_name: What to call the data.
    """

    def shown(results: pd.DataFrame) -> pd.DataFrame:
        return results.replace({"reason": FOLDERS}, "", regex=True).assign(data_source=data_name)

    return replace(
        findings,
        data_source=data_name,
        results=shown(findings.results),
        varied={rate: (shown(found), own) for rate, (found, own) in findings.varied.items()},
        command=_without_folders(findings.command),
    )


def _without_folders(command: str) -> str:
    """A command with folders by their last name, and without `--output`."""
    words = shlex.split(command.replace("--output=", "--output "))
    outputs = [number for number, word in enumerate(words) if word == "--output"]
    kept = [word for number, word in enumerate(words) if number not in outputs and number - 1 not in outputs]
    pairs = [word.rpartition("=") for word in kept]
    return shlex.join(f"{option}{equals}{_last_part(value)}" for option, equals, value in pairs)


def _last_part(value: str) -> str:
    return PurePath(value).name if PurePath(value).is_absolute() else value


def _write_description(study: Study, facts: Mapping[str, Any], folder: Path) -> None:
    # exclude_unset: what a run sets itself, it sets, also where that is the default.
    content = study.model_dump(mode="json", exclude_unset=True, exclude=set(NOT_IN_FILES))
    write_text(folder / STUDY, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
    write_text(folder / ENVIRONMENT, json.dumps(facts, indent=1))


def _all_epochs(findings: Findings) -> pd.DataFrame:
    """The epochs of all runs, those at other learning rates included, as one table."""
    by_rate: dict[str, Histories] = {"chosen": findings.histories}
    by_rate |= {kind: found for kind, (_, found) in findings.varied.items()}
    tables = [
        epochs.reindex(columns=list(CURVES)).assign(run=run, rate=rate, seed=seed)
        for rate, histories in by_rate.items()
        for (run, seed), epochs in histories.items()
        if len(epochs)
    ]
    columns = ["run", "rate", "seed", *CURVES]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


def _layers(histories: Histories) -> pd.DataFrame:
    """The layers of each run in its best epoch; empty if none has followed them."""
    best = [
        epochs.loc[[epochs["val/loss"].idxmin()]].assign(run=run, seed=seed)
        for (run, seed), epochs in histories.items()
        if epochs["val/loss"].notna().any()
    ]
    table = pd.concat(best) if best else pd.DataFrame()
    followed = [name for name in table.columns if name.startswith(OF_LAYERS)]
    return table[["run", "seed", "epoch", *followed]] if followed else pd.DataFrame()


def _with_layers(histories: Histories, layers: pd.DataFrame) -> Histories:
    """The histories with the columns of their layers, which have values in the best epoch."""
    found = dict(histories)
    for run, seed in layers[["run", "seed"]].itertuples(index=False, name=None) if len(layers) else ():
        best = layers[(layers["run"] == run) & (layers["seed"] == seed)].drop(columns=["run", "seed"])
        found[run, seed] = histories[run, seed].merge(best.dropna(axis="columns", how="all"), on="epoch", how="left")
    return found


def _histories(epochs: pd.DataFrame, rate: str) -> Histories:
    if not len(epochs):
        return {}
    of_rate = epochs[epochs["rate"] == rate]
    keys = of_rate[["run", "seed"]].drop_duplicates().itertuples(index=False, name=None)
    return {
        (run, seed): of_rate.loc[(of_rate["run"] == run) & (of_rate["seed"] == seed), list(CURVES)].reset_index(
            drop=True
        )
        for run, seed in keys
    }


def _table(path: Path) -> pd.DataFrame:
    return read_csv(path, texts=TEXTS) if path.is_file() else pd.DataFrame()


def _rounded(content: Any) -> Any:
    """The same with numbers of a few digits, which is enough for a figure."""
    if isinstance(content, Mapping):
        return {key: _rounded(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_rounded(value) for value in content]
    return float(f"{content:.{DIGITS_OF_FIGURES}g}") if isinstance(content, float) else content

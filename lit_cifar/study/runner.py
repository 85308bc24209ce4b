"""Conduct a study from its plan to its report; calling it again continues where it stopped."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from filelock import FileLock, Timeout
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.sources import settled
from lit_cifar.study.answers import answer_questions, summarize
from lit_cifar.study.artifacts import read_evaluation, read_examples
from lit_cifar.study.engines.process_pool import Engine, run_all
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.plan import PlannedRun, plan_runs, plan_searches
from lit_cifar.study.progress import StudyProgress
from lit_cifar.study.report.content import write_report
from lit_cifar.study.result import StudyResult
from lit_cifar.study.run import Row, build_model, history
from lit_cifar.study.schema import Study
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import csv_text, write_text

Left = TypeVar("Left")

TERMINAL_COLUMNS = {
    "test_acc": "test %",
    "mc_test_acc": "MC test %",
    "val_acc": "val %",
    "best_epoch": "best epoch",
    "seconds_per_epoch": "s/epoch",
}
"""The measures that fit a terminal, with short names."""


def conduct(
    study: Study, data: Mapping[str, Any], folder: Path, *, engine: Engine, command: str, console: Console
) -> StudyResult:
    """Search learning rates, do the runs, write tables, figures and the report into the study's folder.

    Args:
        data: Arguments of CIFAR10DataModule, but for seed, batch and validation size.
        engine: What does the runs.
        command: What was typed, for the report.

    Raises:
        UserError: if a run's description is wrong, the data can't be had, or the folder is in use.
    """
    _check(study)
    source = CIFAR10DataModule(**data).source
    console.print(f"[bold]{escape(study.title)}[/bold]{' (quick)' if study.is_quick else ''}", highlight=False)
    source.prepare()
    data = {**data, "source": settled(data["source"], source)}  # workers must not choose again
    console.print(f"Data: {source.name}. Folder: {folder}", highlight=False, markup=False)
    with alone_in(folder):
        learning_rates = _search(study, data, folder, engine, console)
        runs = [_with_learning_rate(run, learning_rates) for run in plan_runs(study, data)]
        rows = _run(runs, folder, engine, console, source.name)
        result = _collect(study, runs, rows, folder, command, source.name)
    console.print(table(result.summary, study, source.name))
    console.print(
        f"Results: {folder / 'results.csv'}\nReport:  {folder / 'report.html'}", highlight=False, markup=False
    )
    return result


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the study's folder against another `compare`; however a process ends, the kernel lets its lock go.

    Raises:
        UserError: naming the process that holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / ".lock.pid"
    try:
        with FileLock(folder / ".lock", timeout=1):
            write_text(holder, f"{os.getpid()} on {platform.node()}")
            yield
    except Timeout as error:
        process = holder.read_text(encoding="utf-8")
        raise UserError(
            f"Another `compare` is at work in {folder} (process {process}): wait for it, or give another --output."
        ) from error


def table(summary: pd.DataFrame, study: Study, data_source: str) -> Table:
    """The summary for a terminal: means over seeds, of accuracies with the half-widths of their 95 % intervals."""
    columns = [column for column in TERMINAL_COLUMNS if column in summary]
    title = f"{escape(study.title)}\n{study.seeds} seeds, mean ± 95 % interval, {escape(data_source)}"
    shown_table = Table("run", "lr", *(TERMINAL_COLUMNS[column] for column in columns), title=title)
    for row in summary.to_dict("records"):
        cells = [_with_interval(row, column) for column in columns]
        failed = f" ({row['failed']} failed)" if row["failed"] else ""
        shown_table.add_row(Text(f"{row['run']}{failed}"), f"{row['lr']:.2g}", *cells)
    return shown_table


def _with_interval(row: Mapping[Any, Any], column: str) -> str:
    measure = MEASURES[column]
    mean, half_width = measure.text(row[column]), measure.text((row[f"{column}_high"] - row[f"{column}_low"]) / 2)
    return f"{mean} ±{half_width}".replace(" %", "") if measure.percent and half_width != "–" else mean


def _check(study: Study) -> None:
    """Find mistakes in every run's description before the first run starts."""
    for name, run in study.runs.items():
        try:
            build_model(run.model)
        except UserError as error:
            raise UserError(f"Run {name!r} of the study {study.name!r}: {error}") from error


def _search(study: Study, data: Mapping[str, Any], folder: Path, engine: Engine, console: Console) -> dict[str, float]:
    """The learning rate found for each run that asks for a search; where none is found, the variant's own stays."""
    searches = plan_searches(study, data)
    if searches:
        console.print(f"Searching the learning rate of {len(searches)} runs.")
    rows = _run(searches, folder, engine, console, "")
    for row in rows:
        if row["status"] != "ok":
            kept = f"{row['run']} keeps its variant's learning rate: {row['reason']}"
            console.print(kept, style="bold", highlight=False, markup=False)
    return {row["run"]: row["lr"] for row in rows if row["status"] == "ok"}


def _with_learning_rate(run: PlannedRun, found: Mapping[str, float]) -> PlannedRun:
    if run.name not in found:
        return run
    return replace(run, protocol=run.protocol.model_copy(update={"learning_rate": found[run.name]}))


def _run(runs: Sequence[PlannedRun], folder: Path, engine: Engine, console: Console, data_source: str) -> list[Row]:
    """Do what isn't done yet; the rows in the order of the plan."""
    rows: dict[tuple[str, int], Row] = {}
    with StudyProgress(len(runs), console) as progress:
        for run, row, here in run_all(runs, folder, engine, progress.epoch):
            rows[run.name, run.seed] = {**row, "data_source": data_source}
            progress.finished(run, row, here=here)
            done = [rows[r.name, r.seed] for r in runs if (r.name, r.seed) in rows]
            if run.kind == "train":
                write_text(folder / "results.csv", results_csv(done))
    return [rows[run.name, run.seed] for run in runs]


def results_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV text."""
    return csv_text(pd.DataFrame(rows))


def _collect(
    study: Study, runs: Sequence[PlannedRun], rows: Sequence[Row], folder: Path, command: str, data_source: str
) -> StudyResult:
    results = pd.DataFrame(rows)
    histories = {(run.name, run.seed): history(run, folder) for run in runs}
    result = StudyResult(
        study=study,
        results=results,
        summary=summarize(results),
        answers=answer_questions(study, results, histories),
        histories=histories,
        data_source=data_source,
        command=command,
        searches=_searches(study, folder),
        evaluations=_left_by(runs, rows, folder, read_evaluation),
        examples={run: rows for (run, _), rows in _left_by(runs, rows, folder, read_examples).items()},
    )
    write_text(folder / "summary.csv", csv_text(result.summary))
    write_report(result, folder)
    return result


def _left_by(
    runs: Sequence[PlannedRun], rows: Sequence[Row], folder: Path, read: Callable[[Path], Left | None]
) -> dict[tuple[str, int], Left]:
    """What `read` finds in the folders of the runs that didn't fail, by their names and seeds."""
    found = {
        (run.name, run.seed): read(folder / run.folder)
        for run, row in zip(runs, rows, strict=True)
        if row["status"] == "ok"
    }
    return {key: left for key, left in found.items() if left is not None}


def _searches(study: Study, folder: Path) -> dict[str, Any]:
    paths = {run.name: folder / run.folder / "lr_find.json" for run in plan_searches(study, {})}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}

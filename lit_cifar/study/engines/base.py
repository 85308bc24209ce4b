"""What all engines share: an engine executes runs, one after the other or several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lit_cifar.study.finished import Row, changed_since, finished
from lit_cifar.study.plan import KINDS_OF_A_RUN, PlannedRun
from lit_cifar.study.run import Report, execute
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.warnings import silence_lightning

FinishedRun = tuple[PlannedRun, Row, bool]
"""A run, its row, and whether it was executed now. Otherwise an earlier call has finished it."""

Engine = Callable[[Sequence[PlannedRun], Path, Report], Iterator[FinishedRun]]
"""Executes runs in this process, in worker processes, in stacks or on a cluster, and keeps their rows on disk."""


def run_all(
    runs: Sequence[PlannedRun], study_folder: Path, engine: Engine, report: Report, *, fresh: bool = False
) -> Iterator[FinishedRun]:
    """Execute the runs that aren't finished. Yields each row as soon as it exists.

    Args:
        runs: The runs.
        study_folder: Folder of the study.
        engine: Executes them.
        report: Called after each epoch.
        fresh: Whether to repeat runs whose settings, data or code have changed since they were finished.

    Raises:
        UserError: If settings, data or code have changed since, and `fresh` is false.
    """
    silence_lightning()
    found = [(run, finished(run, study_folder)) for run in runs]
    if not fresh:
        _refuse([(run, result.changed) for run, result in found if result and result.changed], study_folder)
    usable = [(run, result.row) for run, result in found if result and not result.changed]
    yield from ((run, row, False) for run, row in usable)
    done = {id(run) for run, _ in usable}
    if left := [run for run in runs if id(run) not in done]:
        yield from engine(left, study_folder, report)


def check_unchanged(runs: Sequence[PlannedRun], study_folder: Path) -> None:
    """Check that finished runs fit today's settings, data and code.

    Raises:
        UserError: If they don't.
    """
    _refuse([(run, changed) for run in runs if (changed := changed_since(run, study_folder))], study_folder)


def drop_changed(runs: Sequence[PlannedRun], study_folder: Path) -> None:
    """Drop the rows of finished runs that don't fit today's settings, data and code, and of their repeats.

    A study that is interrupted while it repeats them then has no old results beside its new ones.
    """
    for run in runs:
        if changed_since(run, study_folder):
            for kind in KINDS_OF_A_RUN:
                (study_folder / replace(run, kind=kind).folder / "result.json").unlink(missing_ok=True)


def run_here(runs: Sequence[PlannedRun], study_folder: Path, report: Report) -> Iterator[FinishedRun]:
    """Execute the runs one after the other in this process."""
    yield from ((run, execute(run, study_folder, report), True) for run in runs)


def _refuse(outdated: Sequence[tuple[PlannedRun, Sequence[str]]], folder: Path) -> None:
    """Say what has changed since some runs were finished, if there are any."""
    if not outdated:
        return
    parts = ["the images"] if any("data" in changed for _, changed in outdated) else []
    for what, words in {"code": "the code", "plan": "the settings"}.items():
        if names := dict.fromkeys(run.name for run, changed in outdated if what in changed):
            parts.append(f"{words} of {', '.join(names)}")
    raise UserError(
        f"{len(outdated)} finished runs in {folder} don't fit any more. Changed since: {'; '.join(parts)}. Old "
        "and new results must not be mixed: repeat these runs (fresh=True), or choose another folder (folder=…)."
    )

"""Conduct a study from its plan to its report; calling it again continues where it stopped."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.markup import escape

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.sources import settled
from lit_cifar.study.answers import answer_questions, summarize
from lit_cifar.study.clock import Clock, OutOfTime
from lit_cifar.study.engines.base import Engine
from lit_cifar.study.fingerprints import data_fingerprint
from lit_cifar.study.looking import look_until_settled
from lit_cifar.study.looks import Look
from lit_cifar.study.report.content import write_report
from lit_cifar.study.result import StudyResult
from lit_cifar.study.run import build_model
from lit_cifar.study.schema import Study
from lit_cifar.study.session import Session
from lit_cifar.study.terminal import print_result
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import csv_text, write_text


def conduct(
    study: Study,
    data: Mapping[str, Any],
    folder: Path,
    *,
    engine: Engine,
    command: str,
    console: Console,
    fresh: bool = False,
    minutes: float | None = None,
    seeds_at_once: int = 1,
) -> StudyResult:
    """Search learning rates, train seeds until the questions are answered, and write tables, figures and the report.

    Args:
        study: What is asked.
        data: Arguments of CIFAR10DataModule, without seed, batch and validation size.
        folder: The study's folder.
        engine: What does the runs.
        command: What was typed, for the report.
        console: Where people see how it goes.
        fresh: Whether to repeat finished runs whose data or code has changed since.
        minutes: A time budget; when it is over, what is there is reported. None is no limit.
        seeds_at_once: How many seeds the engine trains for about the price of one.

    Raises:
        UserError: If a run's description is wrong, the data can't be had, the folder is in use, what is there was
            made from other data or code and `fresh` is false, or the time budget is over before there is a result.
    """
    clock = Clock(minutes)
    check_runs(study)
    source = CIFAR10DataModule(**data).source
    console.print(f"[bold]{escape(study.title)}[/bold]{' (quick)' if study.is_quick else ''}", highlight=False)
    source.prepare()
    data = {**data, "source": settled(data["source"], source)}  # workers must not choose again
    console.print(f"Data: {source.name}. Folder: {folder}", highlight=False, markup=False)
    with alone_in(folder):
        session = Session(
            study,
            data,
            folder,
            engine=engine,
            console=console,
            data_source=source.name,
            data_fingerprint=data_fingerprint(source),
            fresh=fresh,
            clock=clock,
        )
        _search(session)
        looks = look_until_settled(session, seeds_at_once=seeds_at_once)
        result = collect(session, looks, command)
    print_result(result, folder, console)
    return result


def _search(session: Session) -> None:
    try:
        session.search()
    except OutOfTime as over:
        raise UserError("The time budget was over before the learning rates were found: give more --minutes.") from over


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the study's folder against another `compare`; however a process ends, the kernel releases its lock.

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


def check_runs(study: Study) -> None:
    """Find mistakes in every run's description before the first run starts.

    Raises:
        UserError: naming the run and what is wrong with it.
    """
    for name, run in study.runs.items():
        try:
            build_model(run.model)
        except UserError as error:
            raise UserError(f"Run {name!r} of the study {study.name!r}: {error}") from error


def collect(session: Session, looks: Sequence[Look], command: str) -> StudyResult:
    """Answer the study's questions from the seeds of its last look, and write tables, figures and the report."""
    seeds, results = looks[-1].seeds, session.results
    results = results[results["seed"] < seeds]
    histories = {(run, seed): epochs for (run, seed), epochs in session.histories.items() if seed < seeds}
    result = StudyResult(
        study=session.study,
        results=results,
        summary=summarize(results),
        answers=answer_questions(session.study, results, histories, looks),
        looks=looks,
        histories=histories,
        data_source=session.data_source,
        command=command,
        searches=session.searches,
        evaluations=session.evaluations,
        examples=session.examples,
    )
    write_text(session.folder / "summary.csv", csv_text(result.summary))
    write_report(result, session.folder)
    return result

"""Run a study from its plan to its report. Calling it again continues where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from lit_cifar.study.answers import Answer, answer_questions, open_runs
from lit_cifar.study.clock import Clock, OutOfTime
from lit_cifar.study.engines.base import Engine
from lit_cifar.study.environment import environment
from lit_cifar.study.folders import alone_in, claim
from lit_cifar.study.gathering import gathered
from lit_cifar.study.judging import judged
from lit_cifar.study.looking import look_until_settled
from lit_cifar.study.looks import FIRST_ROUNDS, MOST_ROUNDS, Look
from lit_cifar.study.record import describe
from lit_cifar.study.report.content import write_report
from lit_cifar.study.result import StudyResult
from lit_cifar.study.run_parts import check_run
from lit_cifar.study.schema import Study
from lit_cifar.study.session import Session
from lit_cifar.study.study_data import StudyData
from lit_cifar.study.terminal import print_result
from lit_cifar.study.timing import timed_runs
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import csv_text, write_text


def conduct(
    study: Study,
    data: StudyData,
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
        study: The study.
        data: The images, of `open_data`.
        folder: The study's folder.
        engine: Executes the runs.
        command: What was typed, for the report.
        console: Where people see how it goes.
        fresh: Whether to repeat finished runs whose data or code has changed since.
        minutes: A time budget; when it is over, what is there is reported. None is no limit.
        seeds_at_once: How many seeds the engine trains for about the price of one.

    Raises:
        UserError: If a run asks for classes that the images don't have, the folder is in use or another study's, what
            is there was made from other data or code and `fresh` is false, or the time budget is over before there is a
            result.
    """
    clock = Clock(minutes)
    study = data.fitted(study)
    data.check(study)
    console.print(f"[bold]{escape(study.title)}[/bold]{' (quick)' if study.is_quick else ''}", highlight=False)
    console.print(f"Data: {data.name}. Folder: {folder}", highlight=False, markup=False)
    with alone_in(folder):
        claim(folder, study, data)
        session = Session(study, data, folder, engine=engine, console=console, fresh=fresh, clock=clock)
        _search(session)
        session.check_finished_runs()  # before anything says that they were asked for what is asked now
        describe(study, folder, data_source=data.name, data_fingerprint=data.fingerprint, command=command)
        _time_runs(session)
        looks = look_until_settled(session, seeds_at_once=seeds_at_once)
        _time_more(session, looks)
        _vary_rates(session, looks)
        result = collect(session, looks, command)
    print_result(result, folder, console)
    return result


def _search(session: Session) -> None:
    try:
        session.search()
    except OutOfTime as over:
        raise UserError("The time budget was over before the learning rates were found: give more, minutes=…") from over


def _time_runs(session: Session) -> None:
    """Time runs alone, before others are at work; questions about seconds need that."""
    names = timed_runs(session.study)
    if names:
        with session.in_time():
            session.console.print(f"Timing {len(names)} runs alone, {FIRST_ROUNDS} rounds.")
            session.time_alone(names, rounds=range(FIRST_ROUNDS))


def _time_more(session: Session, looks: Sequence[Look]) -> None:
    """Time the runs of open questions about seconds in more rounds, if the study goes on until all are answered."""
    names = open_runs(_answers(session, looks), pair="round")
    if session.study.seeds == "auto" and names:
        with session.in_time():
            session.clock.check()
            session.console.print(f"Timing {len(names)} runs alone, up to {MOST_ROUNDS} rounds.")
            session.time_alone(names, rounds=range(FIRST_ROUNDS, MOST_ROUNDS))


def _vary_rates(session: Session, looks: Sequence[Look]) -> None:
    """Repeat seeds of the runs of answered questions at other learning rates, if the study wants that."""
    seeds = min(session.study.sensitivity, looks[-1].seeds)
    answered = [a.question for a in _answers(session, looks) if a.verdict.settled and a.by_seeds]
    names = {name for question in answered for name in (question.treatment, question.baseline)}
    if seeds and names:
        with session.in_time():
            session.clock.check()
            session.console.print(
                f"Repeating {seeds} seeds of {len(names)} runs at half and twice their learning rates."
            )
            session.vary_rates(seeds=range(seeds), names=names)


def _answers(session: Session, looks: Sequence[Look]) -> list[Answer]:
    return answer_questions(session.study, session.results, session.histories, looks, session.timings)


def check_runs(study: Study) -> None:
    """Find mistakes in every run's description before the first run starts.

    Raises:
        UserError: naming the run and what is wrong with it, or two runs that are to be compared but don't differ.
    """
    for name, run in study.runs.items():
        try:
            check_run(run)
        except UserError as error:
            raise UserError(f"Run {name!r} of the study {study.name!r}: {error}") from error
    for question in study.questions:
        names = (question.treatment, question.baseline)
        if names[0] != names[1] and study.settings(names[0]) == study.settings(names[1]):
            raise UserError(
                f"The study {study.name!r} compares {names[0]!r} with {names[1]!r}, but all their settings are the "
                "same now: change one, or leave out the option that makes them the same."
            )


def collect(session: Session, looks: Sequence[Look], command: str) -> StudyResult:
    """Answer the study's questions from the seeds of its last look, and write tables, figures and the report."""
    facts = {"data": session.data.name, "command": command, "environment": environment()}
    result = judged(gathered(session.folder, session.study, facts), looks)
    write_text(session.folder / "summary.csv", csv_text(result.summary))
    write_report(result, session.folder)
    return result

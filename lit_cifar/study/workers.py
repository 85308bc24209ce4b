"""Runs of a study in worker processes, a few at a time; what is finished stays finished."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty

import torch

from lit_cifar.errors import UserError
from lit_cifar.quiet import silence_lightning
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.run import Report, Row, execute, finished_row

POLL_SECONDS = 0.5
TRIES = 3
"""How often a run whose worker died is tried."""

FinishedRun = tuple[PlannedRun, Row, bool]
"""A run, its row, and whether it was done now or had been finished by an earlier call."""

Engine = Callable[[Sequence[PlannedRun], Path, Report], Iterator[FinishedRun]]
"""What does runs: in this process, in worker processes, or on a cluster."""

EpochNews = tuple[str, int, float]
_news: Queue[EpochNews]


def default_workers() -> int:
    """One for each core; each gets its share of the threads."""
    return os.cpu_count() or 1


def run_all(runs: Sequence[PlannedRun], study_folder: Path, engine: Engine, report: Report) -> Iterator[FinishedRun]:
    """Do the runs that aren't finished and give every row when it is there, in the order of finishing.

    Args:
        engine: What does them.
        report: Told of every finished epoch.

    Raises:
        UserError: if a run's worker process dies again and again.
    """
    silence_lightning()
    tries = 0
    while True:
        rows = [(run, finished_row(run, study_folder)) for run in runs]
        yield from ((run, row, tries > 0) for run, row in rows if row is not None)
        runs = [run for run, row in rows if row is None]
        if not runs:
            return
        try:
            yield from engine(runs, study_folder, report)
            return
        except BrokenProcessPool as error:
            tries += 1
            if tries == TRIES:
                raise UserError(
                    f"A worker process died {TRIES} times; perhaps memory ran out: try fewer --workers. Finished runs "
                    "are kept: the same command continues."
                ) from error


def run_here(runs: Sequence[PlannedRun], study_folder: Path, report: Report) -> Iterator[FinishedRun]:
    """Do the runs one after the other in this process."""
    yield from ((run, execute(run, study_folder, report), True) for run in runs)


def run_in_pool(runs: Sequence[PlannedRun], study_folder: Path, report: Report, workers: int) -> Iterator[FinishedRun]:
    """Do the runs in worker processes."""
    context = multiprocessing.get_context("spawn")
    news: Queue[EpochNews] = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // workers)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(news, threads))
    try:
        running = {pool.submit(_execute_in_worker, run, study_folder): run for run in runs}
        while running:
            done, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            _pass_on(news, report)
            for future in done:
                yield running.pop(future), future.result(), True
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        _terminate(pool)


def _terminate(pool: ProcessPoolExecutor) -> None:
    """End workers at once when the study is interrupted: an unfinished run is done anew next time."""
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.kill()  # Lightning would answer a softer signal by finishing its epoch


def _pass_on(news: Queue[EpochNews], report: Report) -> None:
    while True:
        try:
            report(*news.get_nowait())
        except Empty:
            return


def _start_worker(news: Queue[EpochNews], threads: int) -> None:
    """Prepare a worker process: its share of the threads, and silence on the terminal."""
    global _news
    _news = news
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    silence_lightning()


def _end_with_parent() -> None:
    """A killed study must not leave workers behind, busy with runs that nobody waits for."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _execute_in_worker(run: PlannedRun, study_folder: Path) -> Row:
    return execute(run, study_folder, lambda *epoch: _news.put(epoch))

"""Executes the runs of a study in worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tqdm import tqdm  # type: ignore[import-untyped]

from lit_cifar.study.engines.base import FinishedRun
from lit_cifar.study.finished import Row, finished
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.rows import fail_run
from lit_cifar.study.run import Report, execute
from lit_cifar.utils.console import say
from lit_cifar.utils.warnings import one_report_of_system_errors, silence_lightning

TRIES = 3
"""How many times a run is tried if its worker process dies."""

LAST_SECONDS = 5.0
"""Seconds that an idle worker may take to end."""

Epoch = tuple[str, int, float]
"""The arguments of a `Report`."""


def run_in_pool(runs: Sequence[PlannedRun], study_folder: Path, report: Report, workers: int) -> Iterator[FinishedRun]:
    """Execute the runs in worker processes.

    A run whose worker dies is tried again after the others. After `TRIES` deaths its row says why it failed.

    Args:
        runs: The runs.
        study_folder: Folder of the study.
        report: Called after each epoch.
        workers: Number of processes.
    """
    left, deaths = deque(runs), Counter[str]()
    pool: list[_Worker] = []
    try:
        for _ in range(min(workers, len(runs))):
            pool.append(_Worker())  # noqa: PERF401 - an interrupt must find those that have started
        while busy := _set_to_work(pool, left, study_folder):
            ready = wait([worker.connection for worker in busy])
            for worker in (worker for worker in busy if worker.connection in ready):
                message = worker.message()
                if message is None:
                    pool[pool.index(worker)] = _Worker()
                    message = _retry_or_fail(worker, left, deaths, study_folder)
                if isinstance(message, dict):
                    yield worker.run, message, True
                elif message:
                    report(*message)
    except BaseException:
        with _sigint_held_back():
            for worker in pool:
                worker.process.kill()
        raise
    finally:
        with _sigint_held_back():
            for worker in pool:
                worker.end()


class _Worker:
    """A process that executes runs one after the other and reports through its own pipe.

    A queue shared by all workers would stay locked if one of them were killed while writing.
    """

    run: PlannedRun
    """The current or last run."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,))
        with _sigint_held_back():  # the child inherits it, and doesn't print a traceback while it starts
            self.process.start()
        theirs.close()
        self.is_busy = False

    def begin(self, run: PlannedRun, study_folder: Path) -> None:
        self.run, self.is_busy = run, True
        with suppress(BrokenPipeError):  # it has died already, which `message` will report
            self.connection.send((run, study_folder))

    def message(self) -> Epoch | Row | None:
        """A finished epoch, or the finished run's row; None if the process has died.

        Raises:
            OSError: If the disk is full or read-only.
        """
        try:
            message: Epoch | Row | OSError = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return None
        self.is_busy = isinstance(message, tuple)
        if isinstance(message, OSError):
            raise message
        return message

    def death(self) -> str:
        """How the process ended, and the probable cause."""
        code = self.process.exitcode or 0
        if code == -getattr(signal, "SIGKILL", 0) != 0:  # Windows has no SIGKILL
            return "Its process was killed (SIGKILL), probably because memory ran out: try fewer workers"
        return f"Its process died ({signal.strsignal(-code) if code < 0 else f'exit code {code}'})"

    def end(self) -> None:
        """End the process. If it is busy, it is killed, because Lightning would first finish the epoch."""
        if self.is_busy:
            self.process.kill()
        self.connection.close()
        self.process.join(LAST_SECONDS)
        self.process.kill()


def _retry_or_fail(dead: _Worker, left: deque[PlannedRun], deaths: Counter[str], folder: Path) -> Row | None:
    """Queue the run of a dead worker again. Returns its row if it was finished or has failed too often."""
    if (result := finished(dead.run, folder)) and not result.changed:
        return result.row
    deaths[dead.run.label] += 1
    if deaths[dead.run.label] == TRIES:
        return fail_run(dead.run, folder, f"{dead.death()}, {TRIES} times.")
    say(f"{dead.run.label}: {dead.death()}. It is tried again.")
    left.append(dead.run)
    return None


def _set_to_work(pool: Sequence[_Worker], left: deque[PlannedRun], folder: Path) -> list[_Worker]:
    """Give runs to idle workers. Returns the busy workers."""
    for worker in pool:
        if left and not worker.is_busy:
            worker.begin(left.popleft(), folder)
    return [worker for worker in pool if worker.is_busy]


@contextmanager
def _sigint_held_back() -> Iterator[None]:
    """Delay interrupts until the end of the block, if the system can do that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection) -> None:
    """Execute the runs that arrive through the pipe until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles interrupts
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which would outlive a killed process
    silence_lightning()
    with suppress(EOFError), one_report_of_system_errors():
        while True:
            run, study_folder = connection.recv()
            connection.send(_row_or_error(run, study_folder, lambda *epoch: connection.send(epoch)))


def _row_or_error(run: PlannedRun, study_folder: Path, report: Report) -> Row | OSError:
    try:
        return execute(run, study_folder, report)
    except OSError as error:  # a plain OSError, which can be pickled
        return OSError(error.errno, error.strerror or str(error), error.filename)


def _end_with_parent() -> None:
    """Exit when the parent process ends, so that a killed study leaves no workers behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

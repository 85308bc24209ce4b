"""What a task of a Ray cluster does: it executes runs on some machine and sends their files back."""

from __future__ import annotations

import hashlib
import io
import math
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

from lit_cifar.study.engines.base import FinishedRun, run_here
from lit_cifar.study.engines.replicas import run_in_stacks
from lit_cifar.study.engines.stack_of_runs import run_key
from lit_cifar.study.finished import Row
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.run import Report
from lit_cifar.utils.warnings import silence_lightning

POLL_SECONDS = 0.5
"""How often messages are sent and read. Sending one for each replica and epoch would slow a stack down."""

Done = tuple[Row, bytes]
"""A run's row, and its folder as an archive, because the machine may have other disks."""


def execute_on_cluster(
    runs: Sequence[PlannedRun], replicas: int, current_folder: Path, token: Path, queue: Any
) -> dict[str, Done]:
    """Execute runs on a machine of a cluster.

    Args:
        runs: The runs.
        replicas: The largest number of runs in a stack. Runs that can't be stacked are left out of the result. With 0
            each run is trained by itself.
        current_folder: The user's current folder, to which relative paths refer.
        token: A file that this machine can see if it shares the study's folder.
        queue: A `ray.util.queue.Queue` for messages: finished epochs, and text that was written to stderr.

    Returns:
        What was done, by the labels of the runs.
    """
    silence_lightning()
    if current_folder.is_dir():
        os.chdir(current_folder)
    messages = _Messages(queue)
    engine = partial(run_in_stacks, replicas=replicas, others=_leave_out) if replicas else run_here
    with redirect_stderr(messages), _work_folder(runs, token) as folder:
        done = {run.label: (row, _archived(run, folder)) for run, row, _ in engine(runs, folder, messages.epoch)}
    messages.send()
    return done


class _Messages(io.TextIOBase):
    """A file whose lines are sent to the study, as are finished epochs.

    Args:
        queue: The queue that the study reads.
    """

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._unsent: list[str | tuple[str, int, float]] = []
        self._sent_at = -math.inf

    def write(self, text: str) -> int:
        self._add(text)
        return len(text)

    def epoch(self, label: str, epoch: int, accuracy: float) -> None:
        """Report a finished epoch."""
        self._add((label, epoch, accuracy))

    def send(self) -> None:
        """Send all messages that are waiting."""
        self._queue.put_nowait_batch(self._unsent)
        self._unsent, self._sent_at = [], time.monotonic()

    def _add(self, message: str | tuple[str, int, float]) -> None:
        self._unsent.append(message)
        if time.monotonic() - self._sent_at >= POLL_SECONDS:
            self.send()


@contextmanager
def _work_folder(runs: Sequence[PlannedRun], token: Path) -> Iterator[Path]:
    """The folder in which a task works.

    Where the study's folder is shared it is there, and the same for the same runs, so that a repeated task continues.
    It is deleted at the end, but not after an error.
    """
    if not token.is_file():
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    folder = token.parent / hashlib.sha256("".join(map(run_key, runs)).encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _leave_out(runs: Sequence[PlannedRun], study_folder: Path, report: Report) -> Iterator[FinishedRun]:
    """The engine for runs that can't be stacked: the study gives each of them to a task of its own."""
    yield from ()


def _archived(run: PlannedRun, folder: Path) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file in sorted((folder / run.folder).rglob("*"), key=_result_last):
            tar.add(file, file.relative_to(folder), recursive=False)
    return archive.getvalue()


def _result_last(file: Path) -> tuple[bool, Path]:
    """Sort `result.json` last: if it exists, the run is finished."""
    return file.name == "result.json", file


def unpack(archive: bytes, folder: Path) -> None:
    """Write the files of a run to the study's folder."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")

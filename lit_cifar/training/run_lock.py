"""Keeps two trainings from writing to one run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lit_cifar.utils.errors import UserError

LOCK = ".fit.lock"


@contextmanager
def alone_in_run(folder: Path) -> Iterator[None]:
    """Hold a run's folder inside the block; however the process ends, the system releases the lock.

    Raises:
        UserError: if another training holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"Another `fit` is writing to {folder}: wait until it has ended, or leave out --ckpt_path for a new run."
        ) from None
    try:
        yield
    finally:
        lock.release()

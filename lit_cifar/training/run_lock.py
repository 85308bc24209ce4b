"""Keeps two trainings from writing to the folder of one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lit_cifar.utils.errors import UserError

LOCK = ".fit.lock"


@contextmanager
def alone_in_run(folder: Path) -> Iterator[None]:
    """Lock a run's folder inside the block. The system releases the lock however the process ends.

    Raises:
        UserError: If another training has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"Another training writes to {folder}: wait until it has ended, or start a new run without ckpt_path."
        ) from None
    try:
        yield
    finally:
        lock.release()

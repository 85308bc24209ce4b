"""The row of a run in `results.csv`: which run it is, and why it failed if it did."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_cifar.study.clock import OutOfTime
from lit_cifar.study.finished import Row, keep
from lit_cifar.study.plan import PlannedRun
from lit_cifar.training.tensorboard import remove_events
from lit_cifar.utils.files import write_text
from lit_cifar.utils.signals import interruptible

NO_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Error codes of a full disk, a quota and a read-only disk. All other runs would fail as well."""


def row_of(run: PlannedRun, folder: Path, work: Callable[[], Row]) -> Row:
    """The row of a run.

    Args:
        run: The run.
        folder: Its folder, which gets `traceback.txt` if it fails.
        work: Does the run and returns its values; the row of a failed run has the reason instead.

    Raises:
        OSError: If the disk is full or read-only.
    """
    try:
        with interruptible():
            return {**described(run), **work(), "status": "ok", "reason": ""}
    except (KeyboardInterrupt, OutOfTime, SIGTERMException):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in NO_DISK:
            raise OSError(error.errno, f"{run.label}: {error.strerror}", error.filename) from error
        write_text(folder / "traceback.txt", _printable(traceback.format_exc()))
        if not (folder / "metrics.csv").exists():
            remove_events(folder)  # TensorBoard would list a training that never began
        return failed(run, _reason(error))


def fail_run(run: PlannedRun, study_folder: Path, reason: str) -> Row:
    """Write the row of a run whose process died."""
    row = failed(run, reason)
    keep(row, run, study_folder / run.folder)
    return row


def failed(run: PlannedRun, reason: str) -> Row:
    """The row of a run that failed."""
    return {**described(run), "status": "failed", "reason": reason}


def _reason(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a plugin's exception may be broken, too
        text = "(its message can't be printed)"
    return _printable(f"{type(error).__name__}: {text}")


def _printable(text: str) -> str:
    """The text without null characters and lone surrogates, which files can't hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")


def described(run: PlannedRun) -> Row:
    """The columns that say which run a row belongs to."""
    variant = run.model["variant"]
    variant_name = variant if isinstance(variant, str) else variant["class_path"]
    return {
        "run": run.name,
        "variant": variant_name.rpartition(".")[2],
        "seed": run.seed,
        "lr": run.protocol.learning_rate,
        "batch_size": run.protocol.batch_size,
    }

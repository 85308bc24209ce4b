"""What surrounds a process: environment variables and limits that other programs set, and errors that they cause."""

from __future__ import annotations

import os

from lit_cifar.utils.machine import address_space

GIB = 2**30


def settle_environment() -> None:
    """Set aside environment variables that would break a command and mean nothing to it.

    Figures only go into files, so a notebook's or a desktop's backend of matplotlib isn't needed. SLURM_NTASKS counts
    the processes that `srun` starts; a command that it hasn't started is a single process.
    """
    os.environ["MPLBACKEND"] = "agg"
    if "SLURM_STEP_ID" not in os.environ:
        os.environ.pop("SLURM_NTASKS", None)


def explained(error: BaseException) -> str | None:
    """One line about an error that a limit or an environment variable causes; None for any other error."""
    message = " ".join(str(error).split())
    port = os.environ.get("MASTER_PORT", "")
    if type(error).__name__ == "DistNetworkError" or (port and port in message):
        return (
            f"The processes can't be connected through MASTER_PORT={port}: unset it, or set it to the number of a free "
            f"port. ({message[:120]})"
        )
    if isinstance(error, RuntimeError) and "SLURM" in message:
        return message
    if _lacks_memory(error, message):
        limit = address_space()
        allowed = "" if limit is None else f" (`ulimit -v` allows {limit / GIB:.1f} GiB; torch alone needs 4 or more)"
        return f"There is not enough memory{allowed}: {type(error).__name__}: {message[:120]}"
    return None


def _lacks_memory(error: BaseException, message: str) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, RuntimeError) and any(word in message for word in ("allocate memory", "start new thread")):
        return True
    # With too little address space libraries can't be loaded, and what they say about it differs.
    return address_space() is not None and isinstance(error, (ImportError, SystemError, RuntimeError))

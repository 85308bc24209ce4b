"""How the C library deals with memory that is freed in every step."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for what is asked for next: this process's share of memory never shrinks much.

    It would give 13 MB back to the system in every step at batches of 512, or never, as chance has arranged the
    memory; each page is then cleared anew, which takes half as long as the step. Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_THRESHOLD, 2**25)  # the largest that it takes
    mallopt(M_TRIM_THRESHOLD, 2**30)

"""Where tensors lie in memory, and how the C library deals with what is freed in every step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

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


def joined(tensors: Sequence[Tensor]) -> Tensor | None:
    """Tensors of one kind that follow one another in memory, as one, [N]; None if they don't. One alone is itself."""
    first = tensors[0]
    if len(tensors) == 1:
        return first
    begin = end = first.data_ptr()
    for tensor in tensors:
        if tensor.data_ptr() != end or not tensor.is_contiguous():
            return None
        end += tensor.nbytes
    storage = first.untyped_storage()
    if end > storage.data_ptr() + storage.nbytes():  # neighbours by chance
        return None
    return first.detach().as_strided([(end - begin) // first.itemsize], [1])


def runs_of(tensors: Sequence[Tensor]) -> list[list[int]]:
    """The numbers of tensors that follow one another in memory, in their order there, for each such run."""
    runs: list[list[int]] = []
    for number in sorted(range(len(tensors)), key=lambda number: tensors[number].data_ptr()):
        if runs and joined([tensors[runs[-1][-1]], tensors[number]]) is not None:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def arrange(tensors: Sequence[Tensor], runs: Sequence[Sequence[int]]) -> list[Tensor]:
    """Move tensors of one kind so that those of each run follow one another in memory; returns each run as `joined`."""
    return [_together([tensors[number] for number in run]) for run in runs]


def _together(tensors: Sequence[Tensor]) -> Tensor:
    found = joined(tensors)
    if found is None:
        found = torch.cat([tensor.detach().flatten() for tensor in tensors])
        for tensor, piece in zip(tensors, found.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.data = piece.view_as(tensor)
    return found

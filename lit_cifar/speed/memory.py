"""Where tensors are in memory, and what the C library does with memory freed in every step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`, from malloc.h."""


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for later allocations, so that this process's memory hardly ever shrinks.

    At batches of 512, glibc may otherwise return 13 MB to the system in every step, depending on how allocations happen
    to be arranged. The system then clears each page again, which takes half as long as the step. Other C libraries are
    left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_THRESHOLD, 2**25)  # the largest value allowed
    mallopt(M_TRIM_THRESHOLD, 2**30)


def joined(tensors: Sequence[Tensor]) -> Tensor | None:
    """Tensors of one type that are neighbours in memory, as one tensor [N]; None if they aren't neighbours.

    A single tensor is returned as it is.
    """
    first = tensors[0]
    if len(tensors) == 1:
        return first
    begin = end = first.data_ptr()
    for tensor in tensors:
        if tensor.data_ptr() != end or not tensor.is_contiguous():
            return None
        end += tensor.nbytes
    storage = first.untyped_storage()
    if end > storage.data_ptr() + storage.nbytes():  # neighbours by chance, in different storages
        return None
    return first.detach().as_strided([(end - begin) // first.itemsize], [1])


def contiguous_groups(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Group tensors that are neighbours in memory: the indices of each group, in the order of addresses."""
    groups: list[list[int]] = []
    for index in sorted(range(len(tensors)), key=lambda index: tensors[index].data_ptr()):
        if groups and joined([tensors[groups[-1][-1]], tensors[index]]) is not None:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def arrange(tensors: Sequence[Tensor], groups: Sequence[Sequence[int]]) -> list[Tensor]:
    """Move tensors of one type so that those of a group are neighbours in memory; returns each group `joined`."""
    return [_make_neighbours([tensors[index] for index in group]) for group in groups]


def _make_neighbours(tensors: Sequence[Tensor]) -> Tensor:
    found = joined(tensors)
    if found is None:
        found = torch.cat([tensor.detach().flatten() for tensor in tensors])
        for tensor, piece in zip(tensors, found.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.data = piece.view_as(tensor)
    return found

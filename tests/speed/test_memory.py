"""Tensors that are neighbors in memory, and memory that is freed in every step."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from lit_cifar.speed.memory import arrange, contiguous_groups, joined

ROUNDS = """
import ctypes, resource
from lit_cifar.speed.memory import keep_freed_memory

if {kept}:
    keep_freed_memory()
SIZE = 10_000_000
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]

def step():
    blocks = [libc.malloc(SIZE) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    for block in blocks:
        libc.free(block)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(3):
    step()
before = faults()
for _ in range(10):
    step()
print(faults() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_pages_are_kept_from_step_to_step() -> None:
    pages = {}
    for kept in (False, True):
        command = [sys.executable, "-c", ROUNDS.format(kept=kept)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
        pages[kept] = int(printed)
    assert pages[True] < pages[False] / 10


def test_pieces_of_one_tensor_are_joined_in_their_order_only() -> None:
    whole = torch.arange(12.0)
    first, second, third = whole.split([2, 6, 4])
    together = joined([first, second.view(2, 3), third])
    assert torch.equal(together, whole)
    assert together.data_ptr() == whole.data_ptr()
    assert joined([second, first]) is None
    assert joined([first, third]) is None
    assert joined([whole.view(3, 4).T, whole]) is None
    assert joined([third]) is third


def test_neighbours_by_chance_are_not_joined() -> None:
    memory = bytearray(32)
    neighbours = [torch.frombuffer(memory, dtype=torch.float32, count=4, offset=offset) for offset in (0, 16)]
    assert neighbours[0].data_ptr() + 16 == neighbours[1].data_ptr()
    assert joined(neighbours) is None
    assert contiguous_groups(neighbours) == [[0], [1]]


def test_tensors_are_moved_to_where_others_follow_one_another() -> None:
    models = [*reversed(torch.zeros(3, 2, 2).unbind()), torch.zeros(5)]
    runs = contiguous_groups(models)
    assert sorted(runs) == [[2, 1, 0], [3]]
    tensors = [torch.nn.Parameter(torch.full((2, 2), float(n))) for n in range(3)] + [torch.nn.Parameter(torch.ones(5))]
    alone = tensors[3].data_ptr()
    for _ in range(2):  # the second time there is nothing to move
        arranged = dict(zip(map(tuple, runs), arrange(tensors, runs), strict=True))
        assert torch.equal(arranged[2, 1, 0], torch.tensor([2.0, 1.0, 0.0]).repeat_interleave(4))
        assert arranged[3,] is tensors[3]
        assert tensors[3].data_ptr() == alone
        assert sorted(contiguous_groups(tensors)) == sorted(runs)
    arranged[2, 1, 0].add_(1)
    assert [tensor.detach().mean().item() for tensor in tensors] == [1, 2, 3, 1]

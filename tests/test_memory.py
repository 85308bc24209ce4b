"""Memory that is freed in every step isn't given back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ROUNDS = """
import ctypes, resource
from lit_cifar.memory import keep_freed_memory

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_pages_are_kept_from_step_to_step() -> None:
    pages = {}
    for kept in (False, True):
        command = [sys.executable, "-c", ROUNDS.format(kept=kept)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
        pages[kept] = int(printed)
    assert pages[True] < pages[False] / 10

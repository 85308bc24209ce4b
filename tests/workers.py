"""The number of pytest-xdist workers for this machine. The Makefile calls it before it pretends to have other CPUs."""

from lit_cifar.utils.machine import default_workers

MOST = 16
"""More workers would save little: each takes seconds to import torch, and about 1 GB of memory."""


def workers() -> int:
    """The number of workers for `-n auto`."""
    return min(default_workers(), MOST)


if __name__ == "__main__":
    print(workers())

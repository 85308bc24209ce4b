"""How many of pytest-xdist's workers have room on this machine; the Makefile asks before it pretends another."""

from lit_cifar.utils.machine import default_workers

MOST = 16
"""More workers would save little: each takes seconds to import torch, and about a gigabyte."""


def workers() -> int:
    """The number of workers for `-n auto`."""
    return min(default_workers(), MOST)


if __name__ == "__main__":
    print(workers())

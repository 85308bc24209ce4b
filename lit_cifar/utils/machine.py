"""How many processes this machine, or the container it is, has room for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

WORKER_MEMORY = int(1.1 * 2**30)
"""Bytes that a process needs which trains or tests: torch, the images and a network."""


def default_workers() -> int:
    """The number of training processes to start: one for each usable CPU, as far as memory suffices; at least one."""
    return max(1, min(usable_cpus(), usable_memory() // WORKER_MEMORY))


def usable_cpus(root: Path = Path("/")) -> int:
    """The number of CPUs that this process may use; affinity and a container's limit count.

    Args:
        root: Where the kernel's files are; tests bring their own.
    """
    return max(1, min([_cpus_by_affinity(), *(int(cpus) for cpus in _cgroup_cpus(root))]))


def usable_memory(root: Path = Path("/")) -> int:
    """The bytes of memory that this process may still use; a container's limit and `ulimit -v` count.

    Args:
        root: Where the kernel's files are; tests bring their own.
    """
    limits = [psutil.virtual_memory().available, *_cgroup_memory(root), address_space()]
    return min(limit for limit in limits if limit is not None)


def _cpus_by_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def address_space() -> int | None:
    """The bytes of address space that `ulimit -v` allows; None if there is no limit, as on Windows."""
    try:
        import resource
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _cgroup_cpus(root: Path) -> Iterator[float]:
    """The limits on CPU time, in CPUs, of the process's control groups and of those around them (versions 2 and 1)."""
    version_2 = (_read(folder / "cpu.max") for folder in _cgroup_folders(root, ""))
    version_1 = (
        f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
        for folder in _cgroup_folders(root, "cpu")
    )
    for limit in (*version_2, *version_1):
        quota, _, period = limit.partition(" ")
        if quota.isdecimal() and period.isdecimal():  # "max" and -1 are no limits
            yield int(quota) / int(period)


def _cgroup_memory(root: Path) -> Iterator[int]:
    """The limits on memory, in bytes, of the process's control groups and of those around them (versions 2 and 1)."""
    for controller, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        for folder in _cgroup_folders(root, controller):
            limit = _read(folder / name)
            if limit.isdecimal():  # "max" is no limit
                yield int(limit)


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the process's control group and of those around it, for a controller; "" is version 2.

    In a container the path may be the host's, of which only the top is visible.
    """
    mount = root / "sys/fs/cgroup" / controller
    for line in _read(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controller in controllers.split(","):
            folder = mount / path.strip("/")
            yield from (parent for parent in (folder, *folder.parents) if parent.is_relative_to(mount))


def _read(path: Path) -> str:
    """The content of a small file without surrounding blanks; empty if it can't be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""

"""How many workers fit: affinity, memory, and the limits of containers, from made-up control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from lit_cifar.utils import machine

GIB = 2**30


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 CPUs and 256 GiB, before any limit."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=256 * GIB))
    monkeypatch.setattr(machine, "address_space", lambda: None)


def version_2(cgroup: str = "/", **limits: str) -> dict[str, str]:
    """The kernel's files for a process in a control group; `_` in a name stands for `.`, `__` for `/`."""
    files = {name.replace("__", "/").replace("_", "."): limit for name, limit in limits.items()}
    return {"proc/self/cgroup": f"0::{cgroup}"} | {f"sys/fs/cgroup/{name}": limit for name, limit in files.items()}


def version_1(cgroup: str, quota: str, memory: str) -> dict[str, str]:
    return {
        "proc/self/cgroup": f"5:memory:/{cgroup}\n4:cpu,cpuacct:/{cgroup}\n0::/",
        f"sys/fs/cgroup/cpu/{cgroup}/cpu.cfs_quota_us": quota,
        f"sys/fs/cgroup/cpu/{cgroup}/cpu.cfs_period_us": "100000",
        f"sys/fs/cgroup/memory/{cgroup}/memory.limit_in_bytes": memory,
    }


LIMITS = {
    "no cgroups": ({}, 64, 256),
    "no files": (version_2(), 64, 256),
    "no limits": (version_2(cpu_max="max 100000", memory_max="max"), 64, 256),
    "version 2": (version_2(cpu_max="350000 100000", memory_max="4294967296"), 3, 4),
    "half a CPU": (version_2(cpu_max="50000 100000"), 1, 256),
    "nested": (version_2("/a/b", a__cpu_max="400000 100000", a__b__memory_max="1073741824"), 4, 1),
    "a path of the host's": (version_2("/docker/some", cpu_max="200000 100000"), 2, 256),
    "version 1": (version_1("", "250000", "2147483648"), 2, 2),
    "version 1, no limits": (version_1("x", "-1", "9223372036854771712"), 64, 256),
    "garbage": (version_2(cpu_max="", memory_max="\x00?"), 64, 256),
}


@pytest.mark.parametrize(("files", "cpus", "gib"), LIMITS.values(), ids=LIMITS)
def test_limits_of_containers_count(files: dict[str, str], cpus: int, gib: int, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    assert machine.usable_cpus(tmp_path) == cpus
    assert machine.usable_memory(tmp_path) == gib * GIB


def test_affinity_and_memory_bound_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_memory", lambda: 256 * GIB)
    monkeypatch.setattr(machine, "_cgroup_cpus", lambda _: iter(()))
    assert machine.default_workers() == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert machine.default_workers() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for memory, workers in ((8 * GIB, 7), (GIB // 2, 1)):
        monkeypatch.setattr(machine, "usable_memory", lambda memory=memory: memory)
        assert machine.default_workers() == workers


def test_without_affinity_all_cpus_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """macOS and Windows have no `sched_getaffinity`."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert machine.usable_cpus(tmp_path) == 10


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_ulimit_and_taskset_count_in_a_real_process() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import lit_cifar.utils.machine as m"
    code += "; print(m.usable_cpus(), m.usable_memory() <= 2**32)"
    shell = f"ulimit -v {4 * 2**20}; exec {sys.executable} -c '{code}'"
    real = {name: value for name, value in os.environ.items() if name != "PRETENDED_CPUS"}
    done = subprocess.run(["sh", "-c", shell], env=real, capture_output=True, text=True, check=True)  # noqa: S603, S607
    assert done.stdout == "1 True\n"

"""The machine and the versions that results come from."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

import torch

import lit_cifar


def environment() -> dict[str, str]:
    """This machine and the versions of what trains here, by what they are."""
    cores = os.cpu_count() or 1
    return {
        "processor": f"{_processor()}, {cores} core{'' if cores == 1 else 's'}",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in ("torch", "lightning")},
        "lit_cifar": lit_cifar.__version__,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text(encoding="utf-8")) if cpuinfo.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()

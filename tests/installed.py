"""Installs a package into a new environment, which also sees the packages of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]


def install(package: Path, folder: Path) -> Run:
    """Build a package and install it into a new environment in a folder. Returns that environment's Python."""
    venv.create(folder, with_pip=False)
    executable = next(path for path in (folder / "bin/python", folder / "Scripts/python.exe") if path.exists())
    site_packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (site_packages / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--python", str(executable), "install", *offline, str(package)]
    subprocess.run(pip, check=True)  # noqa: S603

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(executable), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603

    return run

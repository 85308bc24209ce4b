"""Failures of runs that don't stop the others, and failures that stop a study."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lit_cifar.study import runner

Run = Callable[..., tuple[int, str, str]]

FAULTY = """
import errno
import os
import signal
import sys
import time
from tqdm import tqdm
from variants.elu import ELU

class TwoArgumentsError(OSError):
    def __init__(self, first, second):
        super().__init__(first)

class UnprintableError(Exception):
    def __str__(self):
        raise ValueError("no text")

class Faulty(ELU):
    def build(self, image_shape, num_classes):
        self.fail()

class Missing(Faulty):
    def fail(self):
        open("there-is-no-such-file")

class Denied(Faulty):
    def fail(self):
        raise PermissionError(errno.EACCES, "Permission denied", "weights.pt")

class Odd(Faulty):
    def fail(self):
        raise TwoArgumentsError("odd", "one")

class Exits(Faulty):
    def fail(self):
        sys.exit(0)

class Unprintable(Faulty):
    def fail(self):
        raise UnprintableError

class Surrogate(Faulty):
    def fail(self):
        raise RuntimeError("\\ud800 and \\0")

class Base(Faulty):
    def fail(self):
        raise BaseException("base")

class Terminated(Faulty):
    def fail(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)

class Locks(Faulty):
    def fail(self):
        raise RuntimeError(type(tqdm.get_lock()).__module__)

class Full(Faulty):
    def fail(self):
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

class ReadOnly(Faulty):
    def fail(self):
        raise OSError(errno.EROFS, "Read-only file system", "somewhere")

class Interrupted(Faulty):
    def fail(self):
        raise KeyboardInterrupt
"""
HARMLESS = {
    "Missing": "FileNotFoundError: [Errno 2] No such file or directory: 'there-is-no-such-file'",
    "Denied": "PermissionError: [Errno 13] Permission denied: 'weights.pt'",
    "Odd": "TwoArgumentsError: odd",
    "Exits": "SystemExit: 0",
    "Unprintable": "UnprintableError: (its message can't be printed)",
    "Surrogate": "RuntimeError: \\ud800 and \\0",
    "Base": "BaseException: base",
}


@pytest.fixture
def faulty(workspace: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[object]]:
    """The options of a study of ELU and of faulty variants."""
    monkeypatch.setattr(runner, "write_report", lambda *_: None)
    monkeypatch.syspath_prepend(workspace)
    (workspace / "faulty.py").write_text(FAULTY)

    def options(*names: str) -> list[object]:
        runs = {name: {"model": {"variant": f"faulty.{name}"}} for name in names}
        good = {"ELU": {"model": {"variant": {"class_path": "ELU", "init_args": {"depth": 1, "width": 4}}}}}
        protocol = {"max_epochs": 1, "batch_size": 30, "val_size": 30}
        study = {"title": "F", "seeds": 1, "protocol": protocol, "runs": {**runs, **good}}
        (workspace / "faulty.yaml").write_text(json.dumps(study))
        data = ["--data.source", "folder", "--data.data_dir", pictures, "--output", "found"]
        return ["compare", "--study", "faulty.yaml", *data]

    return options


def reasons() -> dict[str, str]:
    table = pd.read_csv("found/results.csv", keep_default_na=False).set_index("run")
    return table["reason"].to_dict()


def test_faults_of_variants_are_rows(faulty: Callable[..., list[object]], lit_cifar: Run) -> None:
    code, _, err = lit_cifar(*faulty(*HARMLESS), "--workers", 0)
    assert code == 3, err
    assert err.splitlines()[-1].startswith("lit-cifar: error: 7 of 8 runs failed (Missing, Denied, Odd")
    assert reasons() == {**HARMLESS, "ELU": ""}


@pytest.mark.slow
def test_faults_of_variants_are_rows_in_workers_too(faulty: Callable[..., list[object]], lit_cifar: Run) -> None:
    code, _, err = lit_cifar(*faulty(*HARMLESS, "Interrupted", "Locks"), "--workers", 2)
    assert code == 3, err
    found = reasons()
    assert "Its process died" in found.pop("Interrupted")
    assert found.pop("Locks") == "RuntimeError: _thread", "a semaphore that a killed worker would leave behind"
    assert found == {**HARMLESS, "ELU": ""}


@pytest.mark.parametrize("name", ["Full", "ReadOnly"])
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_disk_that_takes_nothing_stops_the_study(
    name: str, workers: int, faulty: Callable[..., list[object]], lit_cifar: Run
) -> None:
    code, _, err = lit_cifar(*faulty(name), "--workers", workers)
    assert code == 1
    assert err.splitlines()[-1].startswith("lit-cifar: error: ")
    assert {"Full": "No space left on device: somewhere", "ReadOnly": "Read-only file system: somewhere"}[name] in err
    assert f"{name}, seed 0" in err
    assert not Path("found/results.csv").exists()


def test_an_interrupt_stops_the_study(faulty: Callable[..., list[object]], lit_cifar: Run) -> None:
    code, _, err = lit_cifar(*faulty("Interrupted"), "--workers", 0)
    assert code == 130
    assert "Traceback" not in err


def test_sigterm_stops_the_study_and_is_no_run_s_failure(
    faulty: Callable[..., list[object]], lit_cifar: Run, workspace: Path
) -> None:
    code, out, err = lit_cifar(*faulty("Terminated"), "--workers", 0)
    assert code == 143
    assert err.splitlines()[-1].startswith("lit-cifar: error: Stopped by SIGTERM. What was finished is kept;")
    assert "failed" not in out
    assert not list(workspace.glob("found/runs/*/*/result.json"))
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_all_runs_failed_is_a_failure(faulty: Callable[..., list[object]], lit_cifar: Run, workspace: Path) -> None:
    options = faulty("Exits")
    study = json.loads((workspace / "faulty.yaml").read_text())
    del study["runs"]["ELU"]
    (workspace / "faulty.yaml").write_text(json.dumps(study))
    code, _, err = lit_cifar(*options, "--workers", 0)
    assert code == 1
    assert err.splitlines()[-1] == "lit-cifar: error: All 1 runs failed. The first: SystemExit: 0"


INTERRUPTIBLE = """
import signal, sys
from lit_cifar.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs don't have
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("delays", [(0.0,), (0.5, 0.1, 0.1), (3.0, 0.0, 0.0)])
def test_interrupts_while_workers_start_are_one_line(
    delays: tuple[float, ...], faulty: Callable[..., list[object]]
) -> None:
    command = [sys.executable, "-c", INTERRUPTIBLE, *map(str, faulty()), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)  # noqa: S603
    assert process.stdout is not None
    next(line for line in iter(process.stdout.readline, "") if "Data: " in line)
    for delay in delays:
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in err.splitlines() if "Reading" not in line] == [
        "lit-cifar: error: Interrupted. What was finished is kept; `compare` continues with the same command."
    ]

"""Runs on disks that are full or read-only, and runs that are killed at any moment, keep their last good files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.stopped_runs import LAST, RUN, STEPS_PER_EPOCH, Run, assert_equal_runs, happening

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.mark.parametrize(("problem", "says"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system")])
def test_a_disk_that_is_full_or_read_only_leaves_the_last_good_files(
    problem: int,
    says: str,
    options: list[str],
    lit_cifar: Run,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_bytes(path: Path, content: bytes) -> int:
        if "last" in path.name and LAST.is_file():
            with path.open("wb") as file:
                file.write(content[:1000])
            raise OSError(problem, os.strerror(problem), str(path))
        return original(path, content)

    original = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    code, _, err = lit_cifar("fit", *options)
    assert code == 1
    assert says in err
    assert "Traceback" not in err
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH
    assert {path.name for path in LAST.parent.iterdir()} == {"last.ckpt", "best.ckpt"}


@pytest.mark.parametrize(
    "largest", [1_000, 400_000], ids=["not even TensorBoard's events fit", "only checkpoints are too large"]
)
def test_files_that_may_not_grow_leave_the_last_good_ones(
    largest: int,
    uninterrupted: Path,
    options: list[str],
    lit_cifar: Run,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource")  # Windows has none
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        happening(patch, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard)), STEPS_PER_EPOCH + 2)
        try:
            code, _, err = lit_cifar("fit", *options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert err.count("\n") == 1
    assert "File too large. Make room" in err
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH
    code, _, err = lit_cifar("fit", "--ckpt_path", "last")
    assert code == 0, err
    assert_equal_runs(RUN, uninterrupted)


FILLS_THE_DISK = """
import sys
from contextlib import suppress
from pathlib import Path
from lit_cifar.__main__ import main
from lit_cifar.training.module import LitClassifier

calls, original = int(sys.argv[1]), LitClassifier.training_step

def training_step(self, *args):
    global calls
    calls -= 1
    if not calls:
        with suppress(OSError):
            Path("logs/filler").write_bytes(bytes(32 << 20))
    return original(self, *args)

LitClassifier.training_step = training_step
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_a_really_full_disk_leaves_the_last_good_files(
    uninterrupted: Path,
    options: list[str],
    lit_cifar: Run,
    on_a_small_disk: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = on_a_small_disk(sys.executable, "-c", FILLS_THE_DISK, STEPS_PER_EPOCH + 2, "fit", *options)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("lit-cifar: error: No space left on device. Make room")
    assert "Traceback" not in done.stderr
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH
    assert {path.name for path in LAST.parent.iterdir()} == {"last.ckpt", "best.ckpt"}
    code, _, err = lit_cifar("fit", "--ckpt_path", "last")
    assert code == 0, err
    assert_equal_runs(RUN, uninterrupted)


KILLS_ITSELF = """
import os, pathlib, signal, sys
from lit_cifar.__main__ import main
from lit_cifar.training.module import LitClassifier

where, calls = sys.argv[1], int(sys.argv[2])

def counted(original):
    def call(self, *args):
        global calls
        calls -= 1
        if not calls:
            if where == "write_bytes":
                original(self, bytes(args[0])[:10_000])
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args)
    return call

owner = LitClassifier if hasattr(LitClassifier, where) else pathlib.Path
setattr(owner, where, counted(getattr(owner, where)))
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_the_same(uninterrupted: Path, options: list[str], workspace: Path) -> None:
    def run(where: str, calls: int, *arguments: str) -> int:
        command = [sys.executable, "-c", KILLS_ITSELF, where, str(calls), "fit", *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        result = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603
        print(result.stderr.decode())
        return result.returncode

    assert run("training_step", STEPS_PER_EPOCH + 2, *options) == -signal.SIGKILL
    continued = ["--ckpt_path", "last"]
    for where, calls in [("validation_step", 2), ("write_bytes", 2), ("replace", 3), ("on_train_epoch_end", 2)]:
        assert run(where, calls, *continued) == -signal.SIGKILL, where
    assert run("training_step", 1000, *continued) == 0
    assert_equal_runs(RUN, uninterrupted)
    assert {path.name for path in LAST.parent.iterdir()} == {"last.ckpt", "best.ckpt"}

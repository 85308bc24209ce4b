"""Fixtures for all tests: a tiny data set and an empty working folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_cifar.__main__ import main
from tests.workers import workers

CLASSES = ("cat", "dog", "frog")
COMPILERS = ("c++", "g++", "clang++")
TRAIN_IMAGES_PER_CLASS, TEST_IMAGES_PER_CLASS = 40, 8


# torch's compiler would start a process for each CPU, in every one of xdist's workers.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


def pytest_xdist_auto_num_workers() -> int | None:
    """`-n auto` starts as many workers as have room; xdist's own variable comes first."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else workers()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("compiles") and not any(map(shutil.which, COMPILERS)):
        pytest.skip("no C++ compiler")
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no GPU")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt, which the background jobs of a shell ignore; a test leaves it as it was."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if hasattr(signal, "pthread_sigmask"):
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Use one thread, because tests run in parallel."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cache decoded images in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIT_CIFAR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of three classes that differ in color, which is easy to learn and quick to read."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for part, count in (("train", TRAIN_IMAGES_PER_CLASS), ("test", TEST_IMAGES_PER_CLASS)):
        for label, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 200, (32, 32, 3), dtype=np.uint8)
                pixels[..., label] += 55
                Image.fromarray(pixels).save(folder / part / name / f"{index:04d}.png")
    return folder


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lit_cifar(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command. Returns its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures for TensorBoard, which takes longer than a tiny training or test."""
    monkeypatch.setattr("lit_cifar.callbacks.defaults.default_callbacks.__kwdefaults__", {"figures": False})


@pytest.fixture
def on_pictures(pictures: Path) -> list[object]:
    """Options for a short run on the tiny data set."""
    data = ["--data.source", "folder", "--data.data_dir", pictures, "--data.val_size", 30, "--data.batch_size", 16]
    return [*data, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]


ON_A_SMALL_DISK = """
mkdir logs && mount -t tmpfs -o size=16m tmpfs logs || exit 99
"$@"
code=$?
rm -f logs/filler
cp -a logs written
exit $code
"""


@pytest.fixture
def on_a_small_disk(workspace: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program with `logs/` on a disk of 16 MB of its own; what it has written, less `logs/filler`, stays."""
    if shutil.which("unshare") is None:
        pytest.skip("needs Linux: a disk of its own for a process")

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        alone = ["unshare", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", *map(str, command)]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as here: it decides a sum's last bits
        done = subprocess.run(alone, env=one_thread, capture_output=True, text=True, check=False, timeout=200)  # noqa: S603
        if not Path("written").is_dir():
            pytest.skip(f"no disk can be mounted here: {done.stderr}")
        Path("logs").rmdir()
        Path("written").rename("logs")
        return done

    return run

"""Environment variables, limits and folders that others have set: a command works, or says in one line why it can't."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

LIT_CIFAR = (sys.executable, "-m", "lit_cifar")
ROOT = Path(__file__).parents[1]
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def run(*command: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A real process in a folder, with more environment variables."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(  # noqa: S603
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a process that has failed says; anything but a single line of ours is a failure."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "lit-cifar: error:" in line)
    assert done.stderr.rstrip().endswith(line)
    return line


@pytest.fixture
def fit(pictures: Path) -> list[object]:
    data = ["--data.source", "folder", "--data.data_dir", pictures, "--data.batch_size", 30]
    quiet = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_epochs", 1]
    small = ["--model.variant", "ELU", "--model.variant.depth", 2, "--model.variant.width", 8]
    return [*LIT_CIFAR, "fit", *small, *data, *quiet]


@linux
def test_a_full_disk_or_no_reader_behind_stdout(tmp_path: Path) -> None:
    for command in ("--help", "--version"):
        done = run("sh", "-c", f"exec {sys.executable} -m lit_cifar {command} > /dev/full", cwd=tmp_path)
        assert "Nothing can be written: No space left on device" in one_line(done)
    done = run("sh", "-c", f"{sys.executable} -m lit_cifar variants | true", cwd=tmp_path)
    assert done.stderr == ""


@linux
def test_too_little_address_space_is_said(tmp_path: Path) -> None:
    shell = f"ulimit -v 2000000; exec {sys.executable} -m lit_cifar variants"
    assert "not enough memory (`ulimit -v` allows 1.9 GiB" in one_line(run("sh", "-c", shell, cwd=tmp_path))


@pytest.mark.slow
def test_variables_of_others_do_not_matter(fit: list[object], tmp_path: Path) -> None:
    variables = {"MPLBACKEND": "module://no_such_module", "OMP_NUM_THREADS": "many", "SLURM_NTASKS": "4"}
    done = run(*fit, cwd=tmp_path, **variables, SLURM_JOB_ID="1", SLURM_JOB_NAME="job", MASTER_PORT="garbage")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("best.ckpt"))


@pytest.mark.slow
def test_srun_that_lightning_can_not_use_is_one_line(fit: list[object], tmp_path: Path) -> None:
    done = run(*fit, cwd=tmp_path, SLURM_NTASKS="4", SLURM_STEP_ID="0", SLURM_JOB_ID="1", SLURM_JOB_NAME="job")
    assert "--ntasks-per-node=4" in one_line(done)


@pytest.mark.slow
@pytest.mark.parametrize("port", ["garbage", "taken", "99999999"])
def test_a_port_that_can_not_be_used_is_one_line(port: str, fit: list[object], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = str(server.getsockname()[1]) if port == "taken" else port
        done = run(*fit, "--trainer.strategy", "ddp", "--trainer.devices", 1, cwd=tmp_path, MASTER_PORT=number)
    assert f"MASTER_PORT={number}" in one_line(done)


@linux
def test_a_folder_too_deep_is_one_line(tmp_path: Path) -> None:
    deep = "/".join(["a" * 200] * 30)
    done = run(*LIT_CIFAR, "predict", "--ckpt_path", deep, cwd=tmp_path)
    assert "a" * 100 in one_line(done)


@pytest.mark.slow
@linux
def test_ctrl_c_three_times_while_workers_start_is_quiet(pictures: Path, tmp_path: Path) -> None:
    command = [*LIT_CIFAR, "compare", "--variants", "ELU,SELU", "--quick", "--data.source", "folder", "--workers", "2"]
    command += ["--data.data_dir", str(pictures), "--data.val_size", "30"]
    process = subprocess.Popen(  # noqa: S603
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    while "Folder:" not in process.stdout.readline():
        assert process.poll() is None
    for _ in range(3):
        time.sleep(0.7)
        os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.count("lit-cifar: error: Interrupted.") == 1


def test_logs_that_are_a_broken_link_are_one_line(
    lit_cifar: Callable[..., tuple[int, str, str]], fit: list[object], workspace: Path
) -> None:
    (workspace / "logs").symlink_to(workspace / "nowhere")
    code, _, err = lit_cifar(*fit[len(LIT_CIFAR) :])
    assert code == 1
    assert "is a file or a broken link" in err.splitlines()[-1]

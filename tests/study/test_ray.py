"""Runs on a Ray cluster."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from lit_cifar.replicas import stack
from lit_cifar.study.engines import ray as ray_engine
from lit_cifar.study.engines import ray_task
from lit_cifar.study.engines.base import run_here
from lit_cifar.study.engines.replicas import run_in_stacks
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.schema import Protocol
from tests.study.tiny_study import Run, results


@pytest.mark.slow
@pytest.mark.parametrize("stacks", [[], ["--replicas", "2"]], ids=["runs", "stacks"])
def test_a_ray_cluster_of_two_workers_gives_the_same_results(
    lit_cifar: Run, arguments: list[object], workspace: Path, stacks: list[object]
) -> None:
    pytest.importorskip("ray")
    arguments = [*arguments, *stacks]
    options = [str(argument) for argument in arguments]
    command = [sys.executable, "-m", "lit_cifar", "compare", *options]
    on_ray = [*command, "--ray", "local", "--workers", "2", "--output", "on_ray"]
    assert subprocess.run(on_ray, check=False, timeout=300).returncode == 3  # noqa: S603 - one of its runs explodes
    assert lit_cifar("compare", *arguments, "--workers", 0, "--output", "here")[0] == 3
    pd.testing.assert_frame_equal(results(workspace / "on_ray"), results(workspace / "here"))
    written = [
        sorted(path.relative_to(folder) for path in folder.rglob("*") if not path.name.startswith("events"))
        for folder in (workspace / "on_ray/runs", workspace / "here/runs")
    ]
    assert written[0] == written[1]


def test_ray_is_asked_for_where_it_is_missing(
    lit_cifar: Run, arguments: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = lit_cifar("compare", *arguments, "--ray", "auto")
    assert code == 1
    assert "pip install 'lit-cifar[ray]'" in err


def test_a_cluster_that_is_not_there_is_noticed_before_any_work(
    lit_cifar: Run, arguments: list[object], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # Ray itself would try for more than a minute
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert "Ray is not installed" in lit_cifar("compare", *arguments, "--ray", address)[2]
    code, out, err = lit_cifar("compare", *arguments, "--ray", address, "--output", "nothing")
    assert (code, out) == (1, "")
    assert re.fullmatch(f"lit-cifar: error: No Ray cluster answers at '{address}': .*refused.*\n", err)
    assert not (workspace / "nothing").exists()


class Killed(BaseException):
    """As if a task's process were killed."""


class Cluster:
    """Stands for the module `ray`: tasks are done at once, here. A task that is killed is repeated.

    Args:
        gpus: How many GPUs it has.
        shares_folder: Whether its machines see the study's folder.
        killed_in: The epoch in which the first task is killed; 0 for none.
    """

    def __init__(self, gpus: int, *, shares_folder: bool = True, killed_in: int = 0) -> None:
        self.gpus = gpus
        self.shares_folder = shares_folder
        self.killed_in = killed_in
        self.asked: list[dict[str, int]] = []
        self.tasks: list[list[str]] = []
        self.util = SimpleNamespace(queue=SimpleNamespace(Queue=lambda **_: self))
        self.messages: list[Any] = []
        self.found: list[Any] = []

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, **({"GPU": float(self.gpus)} if self.gpus else {})}

    def remote(self, **needs: int) -> Callable[[Callable[..., Any]], SimpleNamespace]:
        def as_task(function: Callable[..., Any]) -> SimpleNamespace:
            def do(runs: Sequence[PlannedRun], replicas: int, folder: Path, token: Path, queue: Any) -> int:
                self.asked.append({name: value for name, value in needs.items() if name != "max_retries"})
                self.tasks.append([run.label for run in runs])
                token = token if self.shares_folder else Path("/nowhere/token")
                try:
                    self.found.append(function(runs, replicas, folder, token, queue))
                except Killed:
                    self.found.append(function(runs, replicas, folder, token, queue))
                return len(self.found) - 1

            return SimpleNamespace(remote=do)

        return as_task

    def wait(self, futures: list[int], timeout: float) -> tuple[list[int], list[int]]:
        return futures[:1], futures[1:]

    def get(self, future: int) -> Any:
        return self.found[future]

    def put_nowait_batch(self, messages: list[Any]) -> None:
        self.messages += messages
        epochs = [message[1] for message in messages if isinstance(message, tuple)]
        if self.killed_in in epochs:
            self.killed_in = 0
            raise Killed

    def qsize(self) -> int:
        return len(self.messages)

    def get_nowait_batch(self, count: int) -> list[Any]:
        batch, self.messages = self.messages[:count], self.messages[count:]
        return batch


@pytest.fixture
def on_cluster(
    workspace: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[dict[str, Any]], list[tuple[str, int]]]]:
    """Execute three seeds of a tiny network on a cluster. Gives their rows and the epochs that were reported."""

    def do(
        cluster: Cluster, replicas: int | None, *, epochs: int = 1, folder: str = "study", **model: Any
    ) -> tuple[list[dict[str, Any]], list[tuple[str, int]]]:
        monkeypatch.setattr(ray_engine, "_cluster", lambda *_: nullcontext(cluster))
        monkeypatch.setattr(ray_task, "POLL_SECONDS", 0.0)
        described = {"variant": {"class_path": "ELU", "init_args": {"depth": 1, "width": 4}}, **model}
        protocol = Protocol(max_epochs=epochs, patience=epochs, batch_size=16, val_size=30, learning_rate=1e-3)
        data = {"source": "folder", "data_dir": str(pictures)}
        runs = [PlannedRun(name="ELU", seed=seed, model=described, data=data, protocol=protocol) for seed in range(3)]
        told: list[tuple[str, int]] = []
        done = ray_engine.run_on_cluster(
            runs,
            workspace / folder,
            lambda label, epoch, _: told.append((label, epoch)),
            address="auto",
            workers=1,
            replicas=replicas,
        )
        rows = []
        for run, row, _ in done:  # a study may stop at any row: the others of its task mustn't be lost
            task = next(labels for labels in reversed(cluster.tasks) if run.label in labels)
            files = [workspace / folder / other.folder / "result.json" for other in runs if other.label in task]
            assert all(file.is_file() for file in files)
            rows.append(row)
        rows.sort(key=lambda row: row["seed"])
        assert [row["seed"] for row in rows] == [0, 1, 2]
        assert all(row["status"] == "ok" for row in rows)
        assert all((workspace / folder / run.folder / "result.json").is_file() for run in runs)
        assert not (workspace / folder / ray_engine.TASKS).exists()
        return rows, told

    return do


ON_GPU, ON_CPU = {"num_gpus": 1}, {"num_cpus": 1, "num_gpus": 0}


@pytest.mark.parametrize(
    ("gpus", "replicas", "needs", "sizes"),
    [(0, None, ON_CPU, [1, 1, 1]), (0, 3, ON_CPU, [3]), (1, None, ON_GPU, [3]), (1, 2, ON_GPU, [2, 1])],
)
def test_each_gpu_of_a_cluster_trains_stacks(
    on_cluster: Callable[..., Any], gpus: int, replicas: int | None, needs: dict[str, int], sizes: list[int]
) -> None:
    cluster = Cluster(gpus)
    rows, told = on_cluster(cluster, replicas)
    assert cluster.asked == [needs] * len(sizes)
    assert [len(task) for task in cluster.tasks] == sizes
    assert [row.get("stack_size") for row in rows] == (
        [n for n in sizes for _ in range(n)] if max(sizes) > 1 else [None] * 3
    )
    assert sorted(told) == [(f"ELU, seed {seed}", 1) for seed in range(3)]


def test_what_cannot_be_stacked_takes_cpus_of_any_machine(
    on_cluster: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(gpus=1)
    rows, told = on_cluster(cluster, None, optimizer="Adafactor")
    assert cluster.asked == [ON_GPU, ON_CPU, ON_CPU, ON_CPU]
    assert not any("stack_size" in row for row in rows)
    assert sorted(told) == [(f"ELU, seed {seed}", 1) for seed in range(3)]
    assert "ELU: not trained in a stack: the optimizer Adafactor isn't known" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.parametrize("shares_folder", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_stack_whose_task_is_killed_continues_where_the_folder_is_shared(
    on_cluster: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, shares_folder: bool
) -> None:
    monkeypatch.setattr(stack, "SHARE_OF_SAVING", float("inf"))  # after every epoch
    expected, _ = on_cluster(Cluster(1), None, epochs=4, folder="whole")
    rows, told = on_cluster(Cluster(1, shares_folder=shares_folder, killed_in=3), None, epochs=4)
    epochs = [epoch for label, epoch in told if label == "ELU, seed 0"]
    assert epochs == ([1, 2, 3, 3, 4] if shares_folder else [1, 2, 3, 1, 2, 3, 4])
    for row, other in zip(rows, expected, strict=True):
        assert without_times(row) == without_times(other)


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.endswith("seconds")}


def pid_of_task() -> int:
    """The process of a task of the cluster that `local` has started here."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            if path.read_bytes().startswith(b"ray::execute_on_cluster"):
                return int(path.parent.name)
    raise AssertionError("no task is running")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="there is no /proc to find the task's process in")
def test_a_stack_continues_on_a_real_cluster_when_its_process_is_killed(workspace: Path, pictures: Path) -> None:
    pytest.importorskip("ray")
    epochs = 100
    model = {"variant": {"class_path": "AlphaDropout", "init_args": {"depth": 1, "width": 4}}}
    protocol = Protocol(max_epochs=epochs, patience=epochs, batch_size=16, val_size=30, learning_rate=1e-4)
    data = {"source": "folder", "data_dir": str(pictures)}
    runs = [PlannedRun(name="tiny", seed=seed, model=model, data=data, protocol=protocol) for seed in range(2)]
    told: list[int] = []
    killed: list[int] = []

    def kill_once(label: str, epoch: int, accuracy: float) -> None:
        told.append(epoch)
        if epoch > 5 and not killed:
            killed.append(len(told))
            os.kill(pid_of_task(), signal.SIGKILL)

    on_cluster = partial(ray_engine.run_on_cluster, address="local", workers=1, replicas=2)
    rows = [row for _, row, _ in on_cluster(runs, workspace / "killed", kill_once)]
    assert told.count(1) == 2  # once for each seed: no epoch is the first one again
    assert told[-1] == epochs
    in_stacks = partial(run_in_stacks, replicas=2, others=run_here)
    whole = [row for _, row, _ in in_stacks(runs, workspace / "whole", lambda *_: None)]
    assert [without_times(row) for row in rows] == [without_times(row) for row in whole]

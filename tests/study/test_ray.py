"""Runs on a Ray cluster."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from lit_cifar.study.engines import ray as ray_engine
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


class Cluster:
    """Stands for the module `ray`: tasks are done at once, here."""

    def __init__(self, gpus: int) -> None:
        self.gpus = gpus
        self.asked: list[dict[str, int]] = []
        self.tasks: list[list[str]] = []
        self.util = SimpleNamespace(queue=SimpleNamespace(Queue=lambda **_: self))
        self.epochs: list[tuple[str, int, float]] = []

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0, **({"GPU": float(self.gpus)} if self.gpus else {})}

    def remote(self, **needs: int) -> Callable[[Callable[..., Any]], SimpleNamespace]:
        self.asked.append(needs)

        def as_task(function: Callable[..., Any]) -> SimpleNamespace:
            def do(runs: Sequence[PlannedRun], *rest: Any) -> int:
                self.tasks.append([run.label for run in runs])
                self.found.append(function(runs, *rest))
                return len(self.found) - 1

            return SimpleNamespace(remote=do)

        self.found: list[Any] = []
        return as_task

    def wait(self, futures: list[int], timeout: float) -> tuple[list[int], list[int]]:
        return futures[:1], futures[1:]

    def get(self, future: int) -> Any:
        return self.found[future]

    def put(self, epoch: tuple[str, int, float]) -> None:
        self.epochs.append(epoch)

    def qsize(self) -> int:
        return len(self.epochs)

    def get_nowait_batch(self, count: int) -> list[tuple[str, int, float]]:
        batch, self.epochs = self.epochs[:count], self.epochs[count:]
        return batch


@pytest.mark.parametrize(
    ("gpus", "replicas", "needs", "sizes"),
    [
        (0, None, {"num_cpus": 1}, [1, 1, 1]),
        (1, None, {"num_gpus": 1}, [3]),
        (1, 2, {"num_gpus": 1}, [2, 1]),
    ],
)
def test_each_gpu_of_a_cluster_trains_stacks(
    gpus: int,
    replicas: int | None,
    needs: dict[str, int],
    sizes: list[int],
    workspace: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(gpus)
    monkeypatch.setattr(ray_engine, "_cluster", lambda *_: nullcontext(cluster))
    model = {"variant": {"class_path": "ELU", "init_args": {"depth": 1, "width": 4}}}
    protocol = Protocol(max_epochs=1, batch_size=16, val_size=30, learning_rate=1e-3)
    data = {"source": "folder", "data_dir": str(pictures)}
    runs = [PlannedRun(name="ELU", seed=seed, model=model, data=data, protocol=protocol) for seed in range(3)]
    told: list[str] = []
    done = list(
        ray_engine.run_on_cluster(
            runs, workspace, lambda label, *_: told.append(label), address="auto", workers=1, replicas=replicas
        )
    )
    assert [{name: value for name, value in asked.items() if name != "max_retries"} for asked in cluster.asked] == [
        needs
    ]
    assert [len(task) for task in cluster.tasks] == sizes
    assert [row["seed"] for _, row, _ in done] == [0, 1, 2]
    assert all(row["status"] == "ok" for _, row, _ in done)
    stack_sizes = [row.get("stack_size") for _, row, _ in done]
    assert stack_sizes == ([n for n in sizes for _ in range(n)] if max(sizes) > 1 else [None] * 3)
    assert all((workspace / run.folder / "result.json").is_file() for run in runs)
    assert sorted(told) == [run.label for run in runs]

"""Studies whose runs are trained side by side."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pytest
import torch

import variants
from lit_cifar.study.engines import replicas as engine
from lit_cifar.study.engines import stack_of_runs
from lit_cifar.study.engines.base import run_all, run_here
from lit_cifar.study.engines.replicas import default_replicas, run_in_stacks
from lit_cifar.study.finished import history
from lit_cifar.study.plan import RATE_FACTORS, Neighbour, PlannedRun
from lit_cifar.study.schema import Protocol

TIMES = {
    "seconds",
    "mc_test_seconds",
    "seconds_per_epoch",
    "train_seconds",
    "test_seconds",
    "stack_size",
    "stack_seconds",
}
Row = dict[str, Any]


@pytest.fixture
def plan(pictures: Path) -> Callable[..., list[PlannedRun]]:
    """Runs of a tiny network, one for each seed."""

    def make(
        seeds: int = 2, variant: str = "ELU", augment: Mapping[str, Any] = MappingProxyType({}), **model: Any
    ) -> list[PlannedRun]:
        described = {"variant": {"class_path": variant, "init_args": {"depth": 2, "width": 8}}, **model}
        protocol = Protocol(max_epochs=3, patience=1, batch_size=16, val_size=30, mc_samples=3, learning_rate=3e-3)
        data = {"source": "folder", "data_dir": str(pictures), **augment}
        return [
            PlannedRun(name=variant, seed=seed, model=described, data=data, protocol=protocol) for seed in range(seeds)
        ]

    return make


def do(runs: Sequence[PlannedRun], folder: Path, **options: Any) -> list[Row]:
    in_stacks = partial(run_in_stacks, **{"replicas": 8, "others": run_here, **options})
    rows = {run.seed: row for run, row, _ in run_all(runs, folder, in_stacks, lambda *_: None)}
    return [rows[run.seed] for run in runs]


def without_times(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in TIMES}


def test_rows_files_and_scores_are_those_of_single_runs(
    workspace: Path, plan: Callable[..., list[PlannedRun]], lit_cifar: Callable[..., tuple[int, str, str]]
) -> None:
    runs = plan()
    stacked = do(runs, workspace / "stacked")
    alone = [row for _, row, _ in run_all(runs, workspace / "alone", run_here, lambda *_: None)]
    for run, one, other in zip(runs, stacked, alone, strict=True):
        compare_rows(without_times(one), without_times(other))
        assert (one["stack_size"], "seconds_per_epoch" in one) == (2, False)
        files = [{path.name for path in (workspace / way / run.folder).rglob("*.*")} for way in ("stacked", "alone")]
        assert {name for name in files[0] if "tfevents" not in name} == {n for n in files[1] if "tfevents" not in n}
        compare_histories(history(run, workspace / "stacked"), history(run, workspace / "alone"))
    assert not list((workspace / "stacked/stacks").iterdir())
    best = workspace / "stacked" / runs[1].folder / "checkpoints/best.ckpt"
    data = ["--data.source", "folder", "--data.data_dir", runs[1].data["data_dir"]]
    code, _, err = lit_cifar("test", "--ckpt_path", best, *data, "--trainer.accelerator", "cpu")
    assert code == 0, err
    [scores] = [json.loads(path.read_text())["scores"] for path in workspace.glob("logs/test/*/*/test.json")]
    assert scores["deterministic"]["nll"] == pytest.approx(stacked[1]["test_nll"], rel=1e-5)


def compare_rows(one: Row, other: Row) -> None:
    assert set(one) == set(other)
    for column, value in other.items():
        assert one[column] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-3, abs=1e-4)), column


def compare_histories(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert set(one) - set(other) == {"stack/seconds"}
    assert set(other) - set(one) == {"train/images_per_second"}
    columns = [column for column in one if column in other and column != "train/seconds"]
    pd.testing.assert_frame_equal(one[columns], other[columns], rtol=1e-2, atol=1e-3)
    assert one["train/seconds"].isna().all()


def test_what_cannot_be_stacked_goes_to_the_other_engine(
    workspace: Path, plan: Callable[..., list[PlannedRun]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = do(plan(2, optimizer="Adafactor"), workspace)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert not any("stack_size" in row for row in rows)
    assert "not trained in a stack: the optimizer Adafactor" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory."),
        (RuntimeError, "MPS backend out of memory (…)"),
        (RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_stack_that_does_not_fit_into_memory_is_halved(
    error: type[Exception],
    message: str,
    workspace: Path,
    plan: Callable[..., list[PlannedRun]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train, too_large = stack_of_runs.train_stack, []

    def small_memory(make: Any, replicas: Sequence[Any], *args: Any, **options: Any) -> Any:
        if len(replicas) > 2:
            weights = torch.zeros(3)
            too_large.append(weakref.ref(weights))
            raise error(message)
        assert too_large[0]() is None  # the smaller stacks have its memory
        return train(make, replicas, *args, **options)

    monkeypatch.setattr(stack_of_runs, "train_stack", small_memory)
    rows = do(plan(3), workspace)
    assert [row["stack_size"] for row in rows] == [2, 2, 1]
    assert "3 replicas don't fit into memory" in " ".join(capsys.readouterr().err.split())


class Killed(BaseException):
    """As if the process were killed."""


def kill_after(epochs: int) -> Callable[[str, int, float], None]:
    def report(label: str, epoch: int, accuracy: float) -> None:
        if epoch == epochs:
            raise Killed

    return report


class Noise(torch.nn.Module):
    """A random layer that draws from torch's generator, unlike torch's dropout in a stack."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x) if self.training else x


class Noisy(variants.Variant):
    """A network with a random layer of its own."""

    def __init__(self, depth: int = 1, width: int = 8) -> None:
        super().__init__()
        self.depth = depth
        self.width = width

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> torch.nn.Module:
        first, last = torch.nn.Linear(3072, self.width), torch.nn.Linear(self.width, num_classes)
        return torch.nn.Sequential(torch.nn.Flatten(), first, Noise(), last)


@pytest.mark.parametrize("variant", ["AlphaDropout", f"{__name__}.Noisy"])
def test_an_interrupted_stack_goes_on_where_it_was_saved(
    workspace: Path, plan: Callable[..., list[PlannedRun]], variant: str
) -> None:
    runs = plan(variant=variant, augment={"flip": True, "crop_padding": 2}, scheduler="one_cycle", sparsity=0.5)
    expected = do(runs, workspace / "whole")
    in_stacks = partial(run_in_stacks, replicas=8, others=run_here)
    with pytest.raises(Killed):
        list(run_all(runs, workspace / "parts", in_stacks, kill_after(2)))
    assert list(workspace.glob("parts/stacks/*/stack.ckpt"))
    seen: list[int] = []
    found = run_all(runs, workspace / "parts", in_stacks, lambda _label, epoch, _accuracy: seen.append(epoch))
    rows = {run.seed: row for run, row, _ in found}
    assert min(seen) == 2
    assert [without_times(rows[run.seed]) for run in runs] == [without_times(row) for row in expected]
    assert not list((workspace / "parts/stacks").iterdir())


def test_a_stack_with_a_diverged_replica_goes_on_where_it_was_saved(
    workspace: Path, plan: Callable[..., list[PlannedRun]], capsys: pytest.CaptureFixture[str]
) -> None:
    sound, broken = plan(2, optimizer="SGD")
    broken = replace(broken, protocol=broken.protocol.model_copy(update={"learning_rate": 1e30}))
    in_stacks = partial(run_in_stacks, replicas=8, others=run_here)
    with pytest.raises(Killed):
        list(run_all([sound, broken], workspace, in_stacks, kill_after(2)))
    seen: list[int] = []
    found = run_all([sound, broken], workspace, in_stacks, lambda _label, epoch, _accuracy: seen.append(epoch))
    assert [row["status"] for _, row, _ in found] == ["ok", "failed"]
    assert min(seen) == 2
    assert "not trained in a stack" not in capsys.readouterr().err


def test_a_stack_of_other_runs_is_kept(workspace: Path, plan: Callable[..., list[PlannedRun]]) -> None:
    runs = plan(2)
    with pytest.raises(Killed):
        list(run_in_stacks(runs, workspace, kill_after(2), replicas=8, others=run_here))
    [saved] = workspace.glob("stacks/*/stack.ckpt")
    assert engine._plan_stacks(plan(1, variant="SELU"), workspace, size=8)
    assert engine._plan_stacks([], workspace, size=8) == []
    assert saved.is_file()
    changed = [replace(run, made_from={"code": "new"}) for run in runs]
    assert len(engine._plan_stacks(changed, workspace, size=8)) == 1
    assert not saved.exists(), "these runs would be others today"


def test_a_run_that_fails_is_a_failed_row(workspace: Path, plan: Callable[..., list[PlannedRun]]) -> None:
    runs = plan(optimizer="SGD")
    exploding = [
        PlannedRun(**{**vars(run), "protocol": run.protocol.model_copy(update={"learning_rate": 1e30})}) for run in runs
    ]
    rows = do(exploding, workspace)
    alone = [row for _, row, _ in run_all(exploding, workspace / "alone", run_here, lambda *_: None)]
    assert [row["reason"] for row in rows] == [row["reason"] for row in alone]


def test_on_cpus_runs_are_not_stacked_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_replicas() == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_replicas() == 128


def test_half_and_double_the_rate_share_a_stack(plan: Callable[..., list[PlannedRun]], workspace: Path) -> None:
    def at(run: PlannedRun, kind: Neighbour) -> PlannedRun:
        rate = {"learning_rate": 3e-3 * RATE_FACTORS[kind]}
        return replace(run, kind=kind, protocol=run.protocol.model_copy(update=rate))

    runs = [at(run, kind) for run in plan(2) for kind in RATE_FACTORS]
    rows = [row for _, row, _ in run_in_stacks(runs, workspace, lambda *_: None, replicas=8, others=run_here)]
    assert [(row["stack_size"], row["lr"], row["seed"]) for row in rows] == [
        (4, 1.5e-3, 0),
        (4, 1.5e-3, 1),
        (4, 6e-3, 0),
        (4, 6e-3, 1),
    ]
    alone = [row for _, row, _ in run_all(runs, workspace / "alone", run_here, lambda *_: None)]
    for row in rows:
        [single] = [other for other in alone if (other["lr"], other["seed"]) == (row["lr"], row["seed"])]
        compare_rows(without_times(row), without_times(single))


def test_seeds_and_rates_of_one_run_share_a_stack(plan: Callable[..., list[PlannedRun]], workspace: Path) -> None:
    runs = plan(2)
    faster = [
        PlannedRun(**{**vars(run), "protocol": run.protocol.model_copy(update={"learning_rate": 5e-2})}) for run in runs
    ]
    [stack] = engine._plan_stacks([*runs, *faster], workspace, size=8)
    assert [(run.protocol.learning_rate, run.seed) for run in stack.runs] == [
        (0.003, 0),
        (0.003, 1),
        (0.05, 0),
        (0.05, 1),
    ]

"""Learning-rate searches whose short runs are trained side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import seed_everything

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.lr_find.search import ConfirmRun, short_run
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.replica import Replica
from lit_cifar.replicas.short_runs import short_runs
from lit_cifar.study.engines import stacked_search
from lit_cifar.study.engines.base import run_here
from lit_cifar.study.engines.replicas import run_in_stacks
from lit_cifar.study.engines.stacked_search import StackedLadder, stacked_data
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.schema import Protocol
from lit_cifar.training.module import LitClassifier
from tests.replicas.conftest import ON_CPU, small_variant

PAIRS = [(1e-3, 0), (1e-3, 1), (1e-2, 0), (1e300, 1)]


def planned(pictures: Path, **model: Any) -> PlannedRun:
    described = {"variant": {"class_path": "ELU", "init_args": {"depth": 2, "width": 8}}, **model}
    protocol = Protocol(batch_size=16, val_size=30, train_size=60, learning_rate="search")
    data = {"source": "folder", "data_dir": str(pictures)}
    return PlannedRun(name="ELU", seed=1000, model=described, data=data, protocol=protocol, kind="search")


def test_short_runs_in_a_stack_are_those_of_single_networks(data_options: dict[str, Any]) -> None:
    def make(replica: Replica) -> LitClassifier:
        seed_everything(replica.seed, workers=True, verbose=False)
        return LitClassifier(small_variant("BatchNorm"), learning_rate=replica.learning_rate, scheduler="one_cycle")

    members = [Replica(f"{rate} {seed}", seed, rate) for rate, seed in PAIRS]
    data = StackedDataModule(seeds=[seed for _, seed in PAIRS], **data_options)
    stacked = short_runs(make, members, data, epochs=2, **ON_CPU)
    for member, found in zip(members, stacked, strict=True):

        def alone(rate: float | None, member: Replica = member) -> tuple[LitClassifier, CIFAR10DataModule]:
            return make(member), CIFAR10DataModule(**data_options, seed=member.seed)

        expected = short_run(alone, member.learning_rate, 2, **ON_CPU)
        assert found.val_loss == pytest.approx(expected.val_loss, rel=1e-6)
        assert found.val_accuracy == pytest.approx(expected.val_accuracy)
    assert stacked[-1] == ConfirmRun(1e300, math.inf, 0.0)


def test_a_stack_has_the_training_images_of_a_single_run(pictures: Path) -> None:
    data = stacked_data(planned(pictures), [0, 1])
    data.prepare_data()
    data.setup("fit")
    assert [len(data.indices("train", seed)) for seed in (0, 1)] == [60, 60]


def test_a_search_that_does_not_fit_into_memory_takes_smaller_stacks(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = []

    def small_memory(make: Any, replicas: Sequence[Replica], *_: Any, **__: Any) -> list[ConfirmRun]:
        sizes.append(len(replicas))
        if len(replicas) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [ConfirmRun(replica.learning_rate, float(replica.seed), 0.5) for replica in replicas]

    monkeypatch.setattr(stacked_search, "short_runs", small_memory)
    found = StackedLadder(planned(pictures), 8)(PAIRS)
    assert [(run.learning_rate, run.val_loss) for run in found] == PAIRS
    assert sizes == [4, 2, 2]
    assert "4 replicas don't fit into memory" in " ".join(capsys.readouterr().err.split())


def test_a_search_that_cannot_be_stacked_goes_to_the_other_engine(
    workspace: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stacked_search, "search_learning_rate", lambda run, report, train, first: train(PAIRS))
    search = planned(pictures, optimizer="Adafactor")
    asked = []

    def others(runs: Sequence[PlannedRun], *_: Any) -> Any:
        asked.extend(runs)
        return iter(())

    assert not list(run_in_stacks([search], workspace, lambda *_: None, replicas=8, others=others))
    assert asked == [search]
    said = " ".join(capsys.readouterr().err.split())
    assert "ELU: not searched in stacks: the optimizer Adafactor isn't known" in said


@pytest.mark.slow
def test_a_search_in_stacks_chooses_as_one_after_the_other_does(workspace: Path, pictures: Path) -> None:
    search = planned(pictures)
    in_stacks = partial(run_in_stacks, replicas=32, others=run_here)
    [(_, stacked, _)] = in_stacks([search], workspace / "stacked", lambda *_: None)
    [(_, alone, _)] = run_here([search], workspace / "alone", lambda *_: None)
    assert stacked["status"] == alone["status"] == "ok"
    assert stacked["lr"] == alone["lr"]
    assert (workspace / "stacked" / search.folder / "lr_find.json").is_file()

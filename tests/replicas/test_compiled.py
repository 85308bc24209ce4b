"""Compiled stacks: the same training as eager ones, while finished replicas leave, and after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import seed_everything

from lit_cifar.replicas import stack, tracker
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.replica import Replica, Training
from lit_cifar.replicas.stack import TrainedReplica, train_stack
from lit_cifar.speed import fused_nadam
from lit_cifar.training.module import LitClassifier
from tests.replicas.conftest import ON_CPU, furthest, small_variant

EPOCHS = (1, 2, 3, 3, 5, 5)
"""When each replica's training ends."""

RATES = [1e-3] * len(EPOCHS)
TWO_RATES = [1e-3] * 3 + [1e-2] * 3

COMPILING_COSTS = 4 * 6
"""Idle steps that are worth compiling again: four epochs of six steps, which the stopped replicas take in epoch 4."""


@dataclass
class Trained:
    """A stack after its training: its replicas, and how many were in it each time when its step was compiled."""

    replicas: Sequence[TrainedReplica]
    compiled: list[int] = field(default_factory=list)


Train = Callable[..., Trained]


@pytest.fixture
def train(data_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train a stack in double precision, compiled or not."""

    def do(*, compiled: bool, variant: str = "ELU", rates: Sequence[float] = RATES, **options: Any) -> Trained:
        trained, ends = Trained([]), iter(EPOCHS)

        class Ending(Training):
            def judge(self, val_loss: float, val_accuracy: float) -> tuple[bool, bool]:
                is_best = super().judge(val_loss, val_accuracy)
                self.stopped = len(self.epochs) + 1 == self.patience
                return is_best

        def training(patience: int, **saved: Any) -> Training:
            return Ending(patience, **saved) if saved else Ending(next(ends))

        def note(model: Any) -> None:
            trained.compiled.append(model.network.replicas)
            compile_step(model)

        compile_step = LitClassifier.compile_training_step
        with monkeypatch.context() as patch:
            patch.setattr(tracker, "Training", training)
            patch.setattr(tracker, "COMPILING_COSTS_ELSEWHERE", COMPILING_COSTS)
            patch.setattr(LitClassifier, "compile_training_step", note)
            trained.replicas = train_stack(
                lambda replica: _classifier(replica, variant, compiled),
                [Replica(f"seed {seed}", seed, rate) for seed, rate in enumerate(rates)],
                StackedDataModule(seeds=range(len(rates)), **data_options),
                max_epochs=6,
                patience=6,
                **ON_CPU,
                **options,
            )
        return trained

    return do


def _classifier(replica: Replica, variant: str, compiled: bool) -> LitClassifier:
    seed_everything(replica.seed, workers=True, verbose=False)
    return LitClassifier(small_variant(variant), learning_rate=replica.learning_rate, compile=compiled)


def check_alike(one: Trained, other: Trained) -> None:
    for a, b, epochs in zip(one.replicas, other.replicas, EPOCHS, strict=True):
        assert len(a.training.epochs) == len(b.training.epochs) == epochs
        assert furthest(a.by_loss, b.by_loss) < 1e-9


@pytest.mark.slow
@pytest.mark.compiles
@pytest.mark.parametrize("variant", ["ELU", "BatchNorm"])
@pytest.mark.parametrize("rates", [RATES, TWO_RATES], ids=["one rate", "two rates"])
def test_a_compiled_stack_equals_an_eager_one(train: Train, variant: str, rates: Sequence[float]) -> None:
    eager = train(compiled=False, variant=variant, rates=rates)
    compiled = train(compiled=True, variant=variant, rates=rates)
    check_alike(compiled, eager)
    assert len(compiled.compiled) == 2


class Killed(BaseException):
    """As if the process were killed."""


def kill_in(epoch: int) -> Callable[[str, int, float], None]:
    """A report of finished epochs that ends the training in this epoch."""

    def report(_label: str, finished: int, _accuracy: float) -> None:
        if finished == epoch:
            raise Killed

    return report


@pytest.mark.slow
@pytest.mark.compiles
@pytest.mark.parametrize(
    ("variant", "killed_in", "sizes"), [("AlphaDropout", 3, [6, 2]), ("BatchNorm", 4, [6, 2]), ("AlphaDropout", 5, [2])]
)
def test_an_interrupted_compiled_stack_equals_an_uninterrupted_one(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, killed_in: int, sizes: Sequence[int]
) -> None:
    monkeypatch.setattr(stack, "SHARE_OF_SAVING", math.inf)  # after every epoch
    whole = train(compiled=True, variant=variant)
    saved = tmp_path / "stack.ckpt"
    with pytest.raises(Killed):
        train(compiled=True, variant=variant, checkpoint=saved, report=kill_in(killed_in))
    seen: list[int] = []
    resumed = train(compiled=True, variant=variant, checkpoint=saved, report=lambda _, epoch, __: seen.append(epoch))
    assert min(seen) == killed_in
    assert resumed.compiled == sizes
    for one, other in zip(resumed.replicas, whole.replicas, strict=True):
        assert losses(one) == losses(other)
        assert furthest(one.by_loss, other.by_loss) == furthest(one.by_accuracy, other.by_accuracy) == 0


def losses(trained: TrainedReplica) -> list[tuple[float, float]]:
    return [(epoch["train/loss"], epoch["val/loss"]) for epoch in trained.training.epochs]


@pytest.mark.parametrize(("rates", "sizes"), [(RATES, [6, 2]), (TWO_RATES, [6, 3])], ids=["one rate", "two rates"])
def test_replicas_leave_a_compiled_stack_when_that_pays(
    train: Train, monkeypatch: pytest.MonkeyPatch, rates: Sequence[float], sizes: Sequence[int]
) -> None:
    eager = train(compiled=False, rates=rates)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    compiled = train(compiled=True, rates=rates)
    check_alike(compiled, eager)
    assert compiled.compiled == sizes  # one of a rate stays, to keep its parameter group


def test_an_optimizer_takes_all_replicas_of_a_rate_at_once(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, calls = fused_nadam._kernels(), []
    assert kernels is not None
    fused, lerp = kernels

    def counted(parameters: Sequence[torch.Tensor], *rest: Any, **options: Any) -> None:
        calls.append(parameters[0].shape[0])
        fused(parameters, *rest, **options)

    monkeypatch.setattr(fused_nadam, "_kernels", lambda: (counted, lerp))
    trained = train(compiled=False, rates=TWO_RATES)
    steps = int(trained.replicas[0].training.epochs[0]["step"]) + 1
    assert calls[: 2 * steps] == [3] * 2 * steps
    assert len(calls) == 5 * 2 * steps

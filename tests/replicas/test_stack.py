"""A replica of a stack has the results of a single run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice, product
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, ReduceLROnPlateau, StepLR

import variants
from lit_cifar.replicas.clipping import clipping
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.network import NotStackableError
from lit_cifar.speed.fused_nadam import FusedNAdam
from lit_cifar.training.muon import MuonWithAdamW
from lit_cifar.training.schedules import PowerLR
from tests.replicas.conftest import Train, best_epoch, furthest, small_variant
from variants.elu import ELU

RUNS = [(0, 1e-3), (1, 1e-3), (0, 1e-2)]
"""Seeds and learning rates: two of one seed, two of one rate."""

HUNDRED_STEPS = {"max_epochs": 17}
OPTIMIZERS: dict[str, Any] = {
    "SGD": partial(optim.SGD, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "Adam": partial(optim.Adam, amsgrad=True),
    "AdamW": optim.AdamW,
    "NAdam": FusedNAdam,
    "NAdam, weight decay": partial(FusedNAdam, weight_decay=1e-3),
    "RMSprop": partial(optim.RMSprop, centered=True, momentum=0.5),
    "Adagrad": optim.Adagrad,
    "Adadelta": optim.Adadelta,
    "Adamax": optim.Adamax,
    "RAdam": optim.RAdam,
    "ASGD": optim.ASGD,
    "Rprop": optim.Rprop,
}
FAMILIES = ("SGD", "Adam", "RMSprop", "NAdam", "Adagrad", "AdamW")
"""Optimizers that every variant is trained with."""

SCALE_UP = ("RMSprop", "Adagrad")
"""Optimizers that turn rounding errors into steps: a bias before batch normalization has a gradient of rounding errors
alone. Adagrad divides it by its own size and an eps of 1e-10; centered RMSprop by a difference of nearly equal
numbers. Others divide by at least 1e-8."""

SCHEDULERS: dict[str, Any] = {
    "none": None,
    "one-cycle": "one_cycle",
    "step": partial(StepLR, step_size=2),
    "exponential": partial(ExponentialLR, gamma=0.9),
    "cosine": partial(CosineAnnealingLR, T_max=5),
}


def check_equal(found: Any, within: float = 1e-9) -> None:
    for trained, last, alone in zip(found.stack, found.last, found.alone, strict=True):
        assert furthest(last, alone.last) < within
        assert furthest(trained.by_loss, alone.best) < within
        assert len(trained.training.epochs) == alone.epochs
        assert best_epoch(trained) == alone.best_epoch


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_family(both_ways: Train, optimizer: str) -> None:
    check_equal(both_ways(small_variant("ELU"), RUNS, optimizer=OPTIMIZERS[optimizer], max_epochs=2))


def test_a_hundred_steps_of_one_cycle(both_ways: Train) -> None:
    check_equal(both_ways(small_variant("BatchNorm"), RUNS[1:], scheduler="one_cycle", **HUNDRED_STEPS))


def test_a_warm_up_and_power_scheduling(both_ways: Train) -> None:
    check_equal(both_ways(small_variant("ELU"), RUNS, scheduler=partial(PowerLR, epochs=2), warmup_epochs=2))


@pytest.mark.parametrize("sparse", [{"l1": 0.5}, {"sparsity": 0.6}])
def test_zeros(both_ways: Train, sparse: dict[str, float]) -> None:
    found = both_ways(small_variant("ELU"), RUNS, scheduler="one_cycle", **sparse)
    check_equal(found)
    for last in found.last:
        weights = torch.cat([value.flatten() for name, value in last.items() if name.endswith("weight")])
        assert (weights == 0).double().mean() > 0.1


class Frozen(variants.DenseVariant):
    """ELU whose first layer is never trained."""

    def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
        return [dense.requires_grad_(index > 0), nn.ELU()]


@pytest.mark.parametrize("limit", [{"l1": 0.5, "max_norm": 0.5}, {"sparsity": 0.6}])
def test_penalties_and_limits_leave_frozen_layers_alone(both_ways: Train, limit: dict[str, float]) -> None:
    found = both_ways(Frozen(depth=2, width=8), RUNS, max_epochs=1, **limit)
    check_equal(found)
    for last in found.last:
        weight = last["body.hidden_01.0.weight"]
        assert weight.all()
        assert weight.norm(dim=1).min() > 1  # as He's initialization makes them


@pytest.mark.parametrize("clip", [{}, {"gradient_clip_algorithm": "value"}])
def test_gradients_are_clipped_for_each_replica(both_ways: Train, clip: dict[str, Any]) -> None:
    trainer = {"gradient_clip_val": 0.01, **clip}
    found = both_ways(small_variant("ELU"), RUNS, optimizer=OPTIMIZERS["SGD"], max_epochs=2, trainer=trainer)
    free = both_ways(small_variant("ELU"), RUNS, optimizer=OPTIMIZERS["SGD"], max_epochs=2)
    check_equal(found)
    assert furthest(found.last[0], free.last[0]) > 1e-4


def test_options_of_the_trainer_that_mean_something_else_are_refused(both_ways: Train) -> None:
    with pytest.raises(NotStackableError, match="accumulate_grad_batches"):
        both_ways(small_variant("ELU"), RUNS, trainer={"accumulate_grad_batches": 2})


def pairwise_cases() -> list[tuple[str, str, str]]:
    """Variants, optimizers and schedulers such that any two meet, where one-cycle has a momentum to cycle."""
    cases = []
    for shift, name in enumerate(variants.available()):
        for optimizer, scheduler in zip(FAMILIES, islice(cycle(SCHEDULERS), shift, None), strict=False):
            cases.append((name, optimizer, "none" if (optimizer, scheduler) in IMPOSSIBLE else scheduler))
        cases += [(name, "NAdam", "one-cycle"), (name, "SGD", "step"), (name, "Adam", "exponential")]
        cases += [(name, "AdamW", "cosine"), (name, "SGD", "none")]
    return list(dict.fromkeys(cases))


IMPOSSIBLE = {("Adagrad", "one-cycle")}


def test_any_two_of_variants_optimizers_and_schedulers_meet() -> None:
    cases, names = pairwise_cases(), variants.available()
    assert {(name, optimizer) for name, optimizer, _ in cases} == set(product(names, FAMILIES))
    assert {(name, scheduler) for name, _, scheduler in cases} == set(product(names, SCHEDULERS))
    assert {(optimizer, scheduler) for _, optimizer, scheduler in cases} == {
        *product(FAMILIES, SCHEDULERS)
    } - IMPOSSIBLE


@pytest.mark.slow
@pytest.mark.parametrize(("name", "optimizer", "scheduler"), pairwise_cases())
def test_every_variant_optimizer_and_scheduler(both_ways: Train, name: str, optimizer: str, scheduler: str) -> None:
    chosen = {"optimizer": OPTIMIZERS[optimizer], "scheduler": SCHEDULERS[scheduler]}
    within = 1e-7 if optimizer in SCALE_UP else 1e-9
    check_equal(both_ways(small_variant(name), RUNS, **chosen, **HUNDRED_STEPS), within)


def test_each_stops_early_by_itself_and_leaves_the_stack(both_ways: Train) -> None:
    runs = [(seed, rate) for rate in (3e-3, 3e-2) for seed in range(2)]
    found = both_ways(small_variant("ELU"), runs, max_epochs=6, patience=1)
    epochs = [alone.epochs for alone in found.alone]
    assert min(epochs) < max(epochs)
    assert [len(trained.training.epochs) for trained in found.stack] == epochs
    assert [best_epoch(trained) for trained in found.stack] == [alone.best_epoch for alone in found.alone]
    assert max(furthest(t.by_loss, a.best) for t, a in zip(found.stack, found.alone, strict=True)) < 1e-9
    assert len(found.last) < len(runs)


def test_a_replica_that_blows_up_fails_alone(both_ways: Train) -> None:
    found = both_ways(small_variant("ELU"), [(0, 1e-2), (0, 1e300), (1, 1e300)], optimizer=optim.SGD)
    sound, *broken = found.stack
    assert not sound.training.failure
    assert furthest(sound.by_loss, found.alone[0].best) < 1e-9
    for trained, alone in zip(broken, found.alone[1:], strict=True):
        assert trained.training.failure == f"NonFiniteLossError: {alone.failure}"


class Overflows(ELU):
    """Its logits are infinite in validation only."""

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        return [*super().hidden_block(dense, index), InfiniteInValidation()]


class InfiniteInValidation(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.training else x * math.inf


def test_a_validation_loss_that_is_not_finite_is_a_failure(both_ways: Train) -> None:
    """Early stopping would end such a training as if it had been patient."""
    found = both_ways(Overflows(depth=1, width=8), [(0, 1e-2), (1, 1e-2)])
    for trained, alone in zip(found.stack, found.alone, strict=True):
        assert alone.failure.startswith("The validation loss became nan in epoch 1: training has diverged.")
        assert trained.training.failure == f"NonFiniteLossError: {alone.failure}"
        assert len(trained.training.epochs) == 1


class Tempered(nn.Linear):
    """Has a parameter that is a single number."""

    def __init__(self) -> None:
        super().__init__(3072, 3)
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.flatten(1)) / self.temperature


def test_a_parameter_that_is_a_single_number(both_ways: Train) -> None:
    class TemperedVariant(variants.Variant):
        def build(self, image_shape: tuple[int, int, int], num_classes: int) -> torch.nn.Module:
            return Tempered()

    check_equal(both_ways(TemperedVariant(), RUNS, trainer={"gradient_clip_val": 0.1}))


def test_a_precision_that_scales_the_loss_is_refused() -> None:
    with pytest.raises(NotStackableError, match="16-mixed"):
        clipping({"precision": "16-mixed"})


def test_what_looks_at_more_than_single_weights_is_refused(both_ways: Train) -> None:
    with pytest.raises(NotStackableError, match="Adafactor"):
        both_ways(small_variant("ELU"), RUNS, optimizer=optim.Adafactor)
    with pytest.raises(NotStackableError, match="MuonWithAdamW isn't known to treat every weight by itself"):
        both_ways(small_variant("ELU"), RUNS, optimizer=MuonWithAdamW)
    with pytest.raises(NotStackableError, match="ReduceLROnPlateau"):
        both_ways(small_variant("ELU"), RUNS, scheduler=ReduceLROnPlateau)


class Chooser(torch.nn.Module):
    """Takes another way for some values, which vmap can't."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = torch.nn.Linear(3072, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.dense(images.flatten(1))
        return logits if logits.sum() > 0 else -logits


class Offset(torch.nn.Linear):
    """Holds a random tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__(3072, 3)
        self.offset = torch.randn(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images.flatten(1)) + self.offset


@pytest.mark.parametrize(("network", "message"), [(Chooser, "vmap can't run"), (Offset, "other logits")])
def test_networks_that_cannot_be_stacked_are_refused(both_ways: Train, network: Any, message: str) -> None:
    class Odd(variants.Variant):
        def build(self, image_shape: tuple[int, int, int], num_classes: int) -> torch.nn.Module:
            return network().float()

    with pytest.raises(NotStackableError, match=message):
        both_ways(Odd(), RUNS)


@pytest.mark.parametrize("augmentation", [{"cutout": 8}, {"mixup": 0.2}])
def test_augmentation_that_a_stack_does_not_have_is_refused(augmentation: Any) -> None:
    with pytest.raises(NotStackableError, match="cutout and mixup"):
        StackedDataModule(seeds=[0, 1], source="synthetic", **augmentation)


def test_warm_up(both_ways: Train) -> None:
    check_equal(both_ways(small_variant("ELU"), RUNS, warmup_epochs=1, scheduler=SCHEDULERS["cosine"]))


def test_max_norm(both_ways: Train) -> None:
    found = both_ways(small_variant("ELU"), RUNS, max_norm=0.8, max_epochs=3)
    check_equal(found)
    norms = torch.cat([weights.norm(dim=1) for weights in found.last[0].values() if weights.dim() == 2])
    assert norms.max().item() == pytest.approx(0.8)

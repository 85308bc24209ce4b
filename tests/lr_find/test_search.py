"""Confirm runs, and whether the learning rate that is found trains well compared with a grid of others."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from lightning import seed_everything

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.sources.synthetic import SyntheticSource
from lit_cifar.lr_find import search as learning_rate_search
from lit_cifar.lr_find.curve import read_curve
from lit_cifar.lr_find.search import STEP, ConfirmRun, _StepLosses, find_learning_rate, range_test, short_run
from lit_cifar.training.module import LitClassifier

GRID = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
EPOCHS = 6


def fresh(name: str, seed: int, learning_rate: float | None) -> tuple[LitClassifier, CIFAR10DataModule]:
    seed_everything(seed, verbose=False)
    data = CIFAR10DataModule(source="synthetic", val_size=4000, seed=seed)
    return LitClassifier(variants.get(name)(), learning_rate=learning_rate), data


@pytest.mark.slow
@pytest.mark.parametrize("name", variants.available())
def test_the_rate_found_is_within_two_points_of_the_best_of_a_grid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbouring rates are up to four points apart by chance: so the best of the grid and the one found meet again
    on seeds that chose neither."""
    monkeypatch.setattr(SyntheticSource.__init__, "__kwdefaults__", {"train_size": 14_000, "test_size": 10, "seed": 0})

    def accuracy(rate: float, seed: int) -> float:
        return short_run(partial(fresh, name, seed), rate, EPOCHS, accelerator="cpu").val_accuracy

    found = find_learning_rate(
        partial(fresh, name, 0), confirm=5, confirm_epochs=EPOCHS, accelerator="cpu"
    ).learning_rate
    best = max(GRID, key=lambda rate: accuracy(rate, seed=0))
    of_found, of_best = (fmean(accuracy(rate, seed) for seed in (1, 2, 3)) for rate in (found, best))
    assert of_found > of_best - 0.02, f"{of_found:.3f} at {found:.2g}, {of_best:.3f} at {best:.2g}"


def searched(monkeypatch: pytest.MonkeyPatch, loss: Callable[[float], float], *, confirm: int = 3) -> list[float]:
    """The learning rates that are tried, in turn, if a run's validation loss depends on them like this; the range test
    suggests one near 1e-3."""
    rates = np.logspace(-6, 0, 200)
    curve = read_curve(rates, 2 - 1 / (1 + (1e-3 / rates) ** 2))
    tried: list[float] = []

    def run(_: object, learning_rate: float, epochs: int) -> ConfirmRun:
        return ConfirmRun(learning_rate, loss(learning_rate), 0.5)

    monkeypatch.setattr(learning_rate_search, "range_test", lambda *_, **__: curve)
    monkeypatch.setattr(learning_rate_search, "short_run", run)
    found = find_learning_rate(
        lambda _: pytest.fail("no run is real"),
        confirm=confirm,
        on_confirmed=lambda run: tried.append(run.learning_rate),
    )
    assert found.learning_rate == min(tried, key=loss)
    return tried


@pytest.mark.parametrize("optimum", [3e-5, 4e-4, 1e-3, 2e-3, 5e-2])
def test_a_parabola_is_followed_to_its_lowest_point(optimum: float, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = searched(monkeypatch, lambda rate: math.log(rate / optimum) ** 2)
    assert tried[-1] == pytest.approx(optimum, rel=1e-6)


def test_the_last_run_keeps_off_a_neighbour_that_blew_up(monkeypatch: pytest.MonkeyPatch) -> None:
    *tried, last = searched(monkeypatch, lambda rate: math.inf if rate > 1e-3 else -rate)
    assert last == pytest.approx(max(rate for rate in tried if rate <= 1e-3) * STEP**-0.25)


@pytest.mark.parametrize("loss", [1.0, math.inf])
def test_losses_all_alike_say_nothing(loss: float, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = searched(monkeypatch, lambda _: loss)
    assert len(set(tried)) == len(tried)
    assert all(1e-6 <= rate <= 1 for rate in tried)


def test_a_single_run_is_only_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(searched(monkeypatch, lambda rate: -rate, confirm=1)) == 1


def test_losses_of_accumulated_batches_are_those_of_steps() -> None:
    losses = _StepLosses(batches_per_step=2)
    for batch_idx, loss in [*enumerate((1.0, 2.0, 3.0, 4.0, 5.0)), *enumerate((6.0, 8.0))]:
        losses.add({"loss": torch.tensor(loss / 2)}, None, batch_idx)
    assert losses.found == [1.5, 3.5, 7.0]


def test_accumulated_batches_count_in_a_range_test(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(rates: list[float], losses: list[float]) -> tuple[list[float], list[float]]:
        return rates, losses

    def make(learning_rate: float | None) -> tuple[LitClassifier, CIFAR10DataModule]:
        seed_everything(0, verbose=False)
        data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=15)
        return LitClassifier(variants.get("ELU")(depth=1, width=4)), data

    monkeypatch.setattr(learning_rate_search, "read_curve", reading)
    options = {"accelerator": "cpu", "accumulate_grad_batches": 3}
    rates, losses = range_test(make, min_lr=1e-5, max_lr=1e-4, steps=10, **options)
    assert len(rates) == len(losses) == 10
    assert rates[-1] > 5e-5
    assert max(losses) < 4

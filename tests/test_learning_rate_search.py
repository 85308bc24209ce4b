"""Whether the learning rate that is found trains, beside a grid of others."""

from __future__ import annotations

from functools import partial

import pytest
from lightning import seed_everything

import variants
from lit_cifar.datamodule import CIFAR10DataModule
from lit_cifar.learning_rate_search import find_learning_rate, short_run
from lit_cifar.module import LitClassifier
from lit_cifar.sources.synthetic import SyntheticSource

GRID = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
EPOCHS = 4


def fresh(name: str, learning_rate: float | None) -> tuple[LitClassifier, CIFAR10DataModule]:
    seed_everything(0, verbose=False)
    data = CIFAR10DataModule(source="synthetic", val_size=4000)
    return LitClassifier(variants.get(name)(), learning_rate=learning_rate), data


MISLED = pytest.mark.xfail(reason="three epochs of 10,000 images are too few: the search says 0.013, 8 points too low")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=MISLED) if name == "ConvNet" else name for name in variants.available()]
)
def test_the_rate_found_is_within_two_points_of_the_best_of_a_grid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyntheticSource.__init__, "__kwdefaults__", {"train_size": 14_000, "test_size": 10, "seed": 0})
    make = partial(fresh, name)
    found = find_learning_rate(make, confirm=5, confirm_epochs=3, accelerator="cpu").learning_rate
    accuracy = {rate: short_run(make, rate, EPOCHS, accelerator="cpu").val_accuracy for rate in (*GRID, found)}
    assert accuracy[found] > max(accuracy.values()) - 0.02, accuracy

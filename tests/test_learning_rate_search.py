"""Whether the learning rate that is found trains, beside a grid of others."""

from __future__ import annotations

from functools import partial

import pytest
from lightning import Trainer, seed_everything

import variants
from lit_cifar.datamodule import CIFAR10DataModule
from lit_cifar.learning_rate_search import find_learning_rate
from lit_cifar.module import LitClassifier
from lit_cifar.sources.synthetic import SyntheticSource

GRID = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
EPOCHS = 4


def fresh(name: str, learning_rate: float | None) -> tuple[LitClassifier, CIFAR10DataModule]:
    seed_everything(0, verbose=False)
    data = CIFAR10DataModule(source="synthetic", val_size=4000)
    return LitClassifier(variants.get(name)(), learning_rate=learning_rate), data


def val_accuracy(name: str, learning_rate: float) -> float:
    model, data = fresh(name, learning_rate)
    trainer = Trainer(
        max_epochs=EPOCHS, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        enable_checkpointing=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return trainer.callback_metrics["val/accuracy"].item()


MISLED = {
    "ConvNet": "three epochs of 10,000 images favour 0.013, which loses 8 points after four",
    "Swish": "on these images the range test refuses to suggest: the loss diverges before it falls clear of its noise",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=MISLED[name]) if name in MISLED else ())
        for name in variants.available()
    ],
)
def test_the_rate_found_is_within_two_points_of_the_best_of_a_grid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyntheticSource.__init__, "__kwdefaults__", {"train_size": 14_000, "test_size": 10, "seed": 0})
    found = find_learning_rate(partial(fresh, name), confirm=5, confirm_epochs=3, accelerator="cpu").learning_rate
    best = max(val_accuracy(name, learning_rate) for learning_rate in GRID)
    assert val_accuracy(name, found) > best - 0.02, f"{found:.2g}"

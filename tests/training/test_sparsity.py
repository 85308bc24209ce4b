"""Zeros: how many there are, which weights they are, and that they stay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning import Trainer, seed_everything

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.sparsity import MagnitudePruning, prunable, soft_threshold
from lit_cifar.utils.errors import UserError


def fit(pictures: Path, epochs: int = 1, **model: float) -> LitClassifier:
    seed_everything(0, verbose=False)
    classifier = LitClassifier(variants.get("BatchNorm")(depth=2, width=20), learning_rate=0.01, **model)
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=9)
    Trainer(
        max_epochs=epochs, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        enable_checkpointing=False, num_sanity_val_steps=0,
    ).fit(classifier, datamodule=data)  # fmt: skip
    return classifier


def zeros(classifier: LitClassifier) -> list[float]:
    return [(weight == 0).float().mean().item() for weight in prunable(classifier)]


def test_soft_threshold_is_the_proximal_step_of_an_l1_penalty() -> None:
    weights = torch.tensor([[-1.0, -0.05, 0.0, 0.05, 0.2]])
    soft_threshold([weights], 0.1)
    torch.testing.assert_close(weights, torch.tensor([[-0.9, 0.0, 0.0, 0.0, 0.1]]))


def test_pruning_sets_the_smallest_weights_to_zero_and_keeps_them_there() -> None:
    torch.manual_seed(0)
    weights = torch.randn(50, 40)
    before = weights.clone()
    pruning = MagnitudePruning([weights], 0.8, steps=100)
    shares = []
    for step in range(1, 151):
        pruning.apply(step)
        shares.append((weights == 0).float().mean().item())
        weights[weights == 0] += 1e-3  # as an optimizer would
    pruning.apply(151)
    assert shares[-1] == pytest.approx(0.8, abs=1e-3)
    assert shares == sorted(shares)
    assert shares[49] == pytest.approx(0.8 * (1 - 0.5**3), abs=1e-3)  # Zhu and Gupta's cubic schedule, half way
    kept = weights != 0
    assert before[kept].abs().min() > before[~kept].abs().max()


def test_the_share_of_zeros_is_reached_in_the_first_epoch(pictures: Path) -> None:
    assert zeros(fit(pictures, sparsity=0.7)) == pytest.approx([0.7] * 3, abs=0.01)


def test_the_penalty_makes_zeros(pictures: Path) -> None:
    without, with_penalty = fit(pictures), fit(pictures, l1=2.0)
    assert max(zeros(without)) == 0
    assert min(zeros(with_penalty)) > 0.05


def test_normalization_and_biases_are_left_alone(pictures: Path) -> None:
    classifier = fit(pictures, l1=0.5, sparsity=0.9)
    flat = [p for p in classifier.parameters() if p.dim() == 1]
    assert len(flat) == 7
    assert all((p != 0).all() for p in flat if p.mean() > 0.5)  # batch normalization's scales


@pytest.mark.parametrize(("knob", "value"), [("l1", -1.0), ("sparsity", 1.0), ("sparsity", -0.1)])
def test_out_of_range(knob: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{knob}={value}"):
        LitClassifier(variants.get("ELU")(), **{knob: value})

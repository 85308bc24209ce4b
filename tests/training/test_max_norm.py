"""Max-norm: no unit's incoming weights are longer than the limit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning import Trainer, seed_everything

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training.max_norm import limit_norms
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.sparsity import prunable
from lit_cifar.utils.errors import UserError


def norms_after_training(pictures: Path, **model: float) -> torch.Tensor:
    seed_everything(0, verbose=False)
    classifier = LitClassifier(variants.get("ELU")(depth=2, width=8), learning_rate=0.01, **model)  # type: ignore[arg-type]
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=15)
    Trainer(
        max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        enable_checkpointing=False, num_sanity_val_steps=0,
    ).fit(classifier, datamodule=data)  # fmt: skip
    return torch.cat([weight.detach().flatten(1).norm(dim=1) for weight in prunable(classifier)])


def test_longer_weights_are_scaled_down_and_shorter_ones_stay() -> None:
    weights = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    limit_norms([weights], 1.0)
    torch.testing.assert_close(weights, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))


def test_no_unit_is_above_the_limit_after_training(pictures: Path) -> None:
    limited, free = norms_after_training(pictures, max_norm=0.9), norms_after_training(pictures)
    assert limited.max().item() == pytest.approx(0.9, abs=1e-5)
    assert free.max() > 1


def test_a_limit_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="max_norm=0 is out of range"):
        LitClassifier(variants.get("ELU")(), max_norm=0)

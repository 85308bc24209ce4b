"""Max-norm regularization: no unit's incoming weights are longer than a given norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from lit_cifar.training.sparsity import AfterOptimizerStep, trained_weights


@torch.no_grad()
def limit_norms(weights: Sequence[Tensor], max_norm: float) -> None:
    """Scale each unit's incoming weights down to a Euclidean norm, in place.

    Args:
        weights: Weights [units, ...].
        max_norm: The largest norm.
    """
    for weight in weights:
        weight.copy_(torch.renorm(weight, p=2, dim=0, maxnorm=max_norm))


class MaxNorm(AfterOptimizerStep):
    """Limit the norms of each unit's incoming weights after each step (Srivastava et al. 2014, section 5.1).

    Args:
        max_norm: The largest norm.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def after_step(self, optimizer: Optimizer, trainer: Trainer, pl_module: LightningModule) -> None:
        limit_norms(trained_weights(pl_module), self.max_norm)

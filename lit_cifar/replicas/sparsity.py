"""L1 penalty, magnitude pruning and max-norm in a stack, with the results of single runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from lit_cifar.replicas.optimizer import StackedOptimizer
from lit_cifar.training.max_norm import limit_norms
from lit_cifar.training.sparsity import AfterOptimizerStep, MagnitudePruning, soft_threshold


class StackedPruning(MagnitudePruning):
    """Magnitude pruning of stacked weights [R, ...], which prunes the same share of each replica's layer."""

    def _mask(self, weight: Tensor, share: float) -> Tensor:
        sizes = weight.flatten(1).abs()
        smallest = sizes.topk(round(share * sizes.shape[1]), dim=1, largest=False).indices
        return torch.ones_like(sizes).scatter_(1, smallest, 0.0).view_as(weight)


class StackedSparsity(AfterOptimizerStep):
    """L1 penalty, pruning and max-norm in a stack, as L1Penalty, GradualPruning and MaxNorm in a single run.

    Args:
        optimizer: The stack's optimizer factory.
        l1: Strength of the L1 penalty on the weights.
        sparsity: Share of each layer's weights that is pruned during the first epoch.
        max_norm: The largest norm of a unit's incoming weights. None is no limit.
    """

    def __init__(self, optimizer: StackedOptimizer, *, l1: float, sparsity: float, max_norm: float | None) -> None:
        self.optimizer = optimizer
        self.l1 = l1
        self.sparsity = sparsity
        self.max_norm = max_norm
        self._pruning: StackedPruning | None = None
        self._loaded: Sequence[Tensor] = ()

    def state_dict(self) -> dict[str, Any]:
        return {"masks": list(self._pruning.masks if self._pruning else self._loaded)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict["masks"]

    def keep(self, replicas: Sequence[int]) -> None:
        """Remove all other replicas."""
        if self._pruning:
            self._pruning.masks = [mask[list(replicas)] for mask in self._pruning.masks]

    def after_step(self, optimizer: Optimizer, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.l1:
            for group, own in zip(optimizer.param_groups, self.optimizer.groups.groups, strict=True):
                soft_threshold(
                    [p.data for p in own.parameters if p.dim() > 2 and p.requires_grad], group["lr"] * self.l1
                )
        if self.sparsity and self._pruning is None:
            steps = int(trainer.num_training_batches)
            self._pruning = StackedPruning(prunable(self.optimizer.network), self.sparsity, steps, self._loaded)
        if self._pruning:
            self._pruning.apply(trainer.global_step + 1)
        if self.max_norm:
            limit_norms([p.data.flatten(0, 1) for p in prunable(self.optimizer.network)], self.max_norm)


def prunable(network: torch.nn.Module) -> list[Tensor]:
    """The stacked weights [R, ...] of dense and convolutional layers that aren't frozen."""
    return [p for p in network.parameters() if p.dim() > 2 and p.requires_grad]

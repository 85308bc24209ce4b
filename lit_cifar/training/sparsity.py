"""Weights that are zero: an L1 penalty and magnitude pruning. Biases and normalization are left alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils.prune import L1Unstructured
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

RAISES = 10
"""Number of times at which the share of pruned weights is raised."""

MASKS = "pruning_masks"
"""Where a checkpoint keeps the masks: one for each prunable weight, None for one that has always been frozen."""


def prunable(network: nn.Module) -> list[nn.Parameter]:
    """The weights of a network's dense and convolutional layers."""
    return [p for p in network.parameters() if p.dim() > 1]


def trained_weights(network: nn.Module) -> list[nn.Parameter]:
    """The prunable weights that aren't frozen."""
    return [p for p in prunable(network) if p.requires_grad]


@torch.no_grad()
def soft_threshold(weights: Sequence[Tensor], amount: float) -> None:
    """Move every weight towards zero by `amount`, at most to zero, in place.

    This is the proximal step of an L1 penalty (Parikh and Boyd 2014, Proximal Algorithms, section 6.5.2), taken after
    the optimizer's own step. A gradient of the penalty would never make a weight exactly zero.
    """
    for weight in weights:
        weight.copy_(nn.functional.softshrink(weight, amount))


class MagnitudePruning:
    """Set the smallest weights of each layer to zero, more of them step by step, and keep them at zero.

    The share rises from 0 to `sparsity` as in Zhu and Gupta 2017 (arXiv:1710.01878, equation 1).

    Args:
        weights: Tensors to prune, in place.
        sparsity: Share of zeros at the end, at least 0 and below 1.
        steps: Optimizer steps until the share is reached.
        masks: The masks of a run that is continued: 1 for a weight that is kept, 0 for a pruned one.
    """

    def __init__(self, weights: Sequence[Tensor], sparsity: float, steps: int, masks: Sequence[Tensor] = ()) -> None:
        self.weights = weights
        self.sparsity = sparsity
        self.interval = max(1, steps // RAISES)
        self.masks = [mask.to(weight) for mask, weight in zip(masks, weights, strict=False)]

    @torch.no_grad()
    def apply(self, step: int) -> None:
        """Call after each optimizer step; the first is step 1."""
        raises, rest = divmod(step, self.interval)
        if not self.masks or (rest == 0 and raises <= RAISES):
            share = self.sparsity * (1 - (1 - min(raises / RAISES, 1)) ** 3)
            self.masks = [self._mask(weight, share) for weight in self.weights]
        for weight, mask in zip(self.weights, self.masks, strict=True):
            weight.mul_(mask)

    def _mask(self, weight: Tensor, share: float) -> Tensor:
        """0 for the smallest weights, 1 for the others."""
        mask: Tensor = L1Unstructured(share).compute_mask(weight, torch.ones_like(weight))
        return mask


class AfterOptimizerStep(Callback):
    """Base class of callbacks that change the weights after each optimizer step.

    They do so before anything else sees the weights: no checkpoint is saved and no other callback runs in between.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def after_step(optimizer: Optimizer, _arguments: Any, _options: Any) -> None:
            self.after_step(optimizer, trainer, pl_module)

        self._hook: RemovableHandle = trainer.optimizers[0].register_step_post_hook(after_step)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hook.remove()

    def after_step(self, optimizer: Optimizer, trainer: Trainer, pl_module: LightningModule) -> None:
        """Change the weights; `trainer.global_step` doesn't count this step yet."""


class L1Penalty(AfterOptimizerStep):
    """Move the weights towards zero after each step, by the learning rate times `strength`."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def after_step(self, optimizer: Optimizer, trainer: Trainer, pl_module: LightningModule) -> None:
        soft_threshold(trained_weights(pl_module), optimizer.param_groups[0]["lr"] * self.strength)


class GradualPruning(AfterOptimizerStep):
    """Prune the share `sparsity` of each layer's weights in the course of the first epoch; see `MagnitudePruning`.

    Frozen weights stay as they are. Those that are unfrozen later are pruned after their next step.
    """

    def __init__(self, sparsity: float) -> None:
        self.sparsity = sparsity
        self._pruning: dict[int, MagnitudePruning] = {}  # by the index of the weight
        self._loaded: dict[int, Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        self._pruning = {}

    def after_step(self, optimizer: Optimizer, trainer: Trainer, pl_module: LightningModule) -> None:
        for index, weight in enumerate(prunable(pl_module)):
            if not weight.requires_grad:
                continue
            if index not in self._pruning:
                self._pruning[index] = self._start(index, weight, int(trainer.num_training_batches))
            self._pruning[index].apply(trainer.global_step + 1)

    def _start(self, index: int, weight: Tensor, steps: int) -> MagnitudePruning:
        masks = [self._loaded[index]] if index in self._loaded else []
        return MagnitudePruning([weight], self.sparsity, steps, masks)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        masks = self._loaded | {index: of_one.masks[0] for index, of_one in self._pruning.items()}
        checkpoint[MASKS] = [masks.get(index) for index in range(len(prunable(pl_module)))] if masks else []

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        masks = enumerate(checkpoint.get(MASKS, ()))
        self._loaded = {index: mask for index, mask in masks if mask is not None}

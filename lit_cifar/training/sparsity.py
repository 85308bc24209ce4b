"""Zeros among the weights: a penalty that makes them, and pruning that sets them. Biases and normalization keep out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import L1Unstructured

RAISES = 10
"""How often more weights are pruned until the target is reached."""


def prunable(network: nn.Module) -> list[nn.Parameter]:
    """The weights of a network's dense and convolutional layers."""
    return [p for p in network.parameters() if p.dim() > 1]


@torch.no_grad()
def shrink(weights: Sequence[Tensor], amount: float) -> None:
    """Move every weight towards zero by `amount`, at most to zero, in place.

    This is the proximal step of an L1 penalty (Parikh and Boyd 2014, Proximal Algorithms, section 6.5.2), taken after
    the optimizer's own step: a gradient of the penalty would never make a weight exactly zero.
    """
    for weight in weights:
        weight.copy_(nn.functional.softshrink(weight, amount))


class MagnitudePruning:
    """Sets the smallest weights of each layer to zero, more of them step by step, and keeps them at zero.

    The share rises as in Zhu and Gupta 2017 (arXiv:1710.01878, equation 1), from none to `sparsity`.

    Args:
        weights: Tensors to prune, in place.
        sparsity: Share of zeros at the end, at least 0 and below 1.
        steps: Optimizer steps until the share is reached.
        masks: What is pruned already, when a run is continued: 0 and 1 for each weight.
    """

    def __init__(self, weights: Sequence[Tensor], sparsity: float, steps: int, masks: Sequence[Tensor] = ()) -> None:
        self.weights = weights
        self.sparsity = sparsity
        self.interval = max(1, steps // RAISES)
        self.masks = [mask.to(weight) for mask, weight in zip(masks, weights, strict=False)]

    @torch.no_grad()
    def apply(self, step: int) -> None:
        """Call after each optimizer step, the first being 1."""
        raises, rest = divmod(step, self.interval)
        if not self.masks or (rest == 0 and raises <= RAISES):
            share = self.sparsity * (1 - (1 - min(raises / RAISES, 1)) ** 3)
            prune = L1Unstructured(share)
            self.masks = [prune.compute_mask(weight, torch.ones_like(weight)) for weight in self.weights]
        for weight, mask in zip(self.weights, self.masks, strict=True):
            weight.mul_(mask)

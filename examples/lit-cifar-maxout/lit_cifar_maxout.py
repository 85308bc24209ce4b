"""Maxout networks as a variant for lit_cifar."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from variants import DenseVariant, Scaling, at_least, register

__version__ = "0.1.0"


class MaxPieces(nn.Module):
    """The largest of every `pieces` neighbours: [B, units * pieces] to [B, units]."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.unflatten(1, (-1, self.pieces)).amax(2)


@register
class Maxout(DenseVariant):
    """Maxout: each unit is the largest of several linear functions of its inputs.

    Args:
        pieces: Linear functions of a unit.
        depth: Number of hidden layers.
        width: Units in each hidden layer.
        scaling: How pixels are scaled before they reach the network.
    """

    learning_rate = 1.4e-4
    reference = "Goodfellow et al. 2013, arXiv:1302.4389"

    def __init__(self, *, pieces: int = 2, depth: int = 20, width: int = 100, scaling: Scaling = "standardize") -> None:
        super().__init__(depth=depth, width=width, scaling=scaling)
        self.pieces = at_least("pieces", pieces, 2)

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        return [self.dense_layer(dense.in_features, dense.out_features * self.pieces), MaxPieces(self.pieces)]

    def initialize(self, weight: Tensor) -> None:
        """Variance 1 / inputs: the larger of two equal Gaussians has the second moment of each."""
        torch.nn.init.kaiming_normal_(weight, nonlinearity="linear")

"""Maxout networks as a variant for lit_cifar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from variants import DenseVariant, at_least, register

__version__ = "0.1.0"


class MaxPieces(nn.Module):
    """The maximum of each group of `pieces` neighbours: [B, units * pieces] to [B, units]."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.unflatten(1, (-1, self.pieces)).amax(2)


@register
class Maxout(DenseVariant):
    """Maxout: each unit is the largest of several linear functions of its inputs.

    Args:
        pieces: Number of linear functions per unit.
        **dense: Depth, width and scaling, as in `DenseVariant`.
    """

    learning_rate = 1.4e-4
    reference = "Goodfellow et al. 2013, arXiv:1302.4389"

    def __init__(self, *, pieces: int = 2, **dense: Any) -> None:
        super().__init__(**dense)
        self.pieces = at_least("pieces", pieces, 2)

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        return [self.dense_layer(dense.in_features, dense.out_features * self.pieces), MaxPieces(self.pieces)]

    def initialize(self, weight: Tensor) -> None:
        """Variance 1 / inputs: the larger of two equal Gaussians has the second moment of each."""
        torch.nn.init.kaiming_normal_(weight, nonlinearity="linear")

from collections.abc import Sequence

import torch
from torch import nn

from variants import DenseVariant, register


@register
class SELU(DenseVariant):
    """SELU that self-normalizes: standardized inputs, LeCun normal weights, dense layers only."""

    learning_rate = 2.9e-4
    reference = "Klambauer et al. 2017, arXiv:1706.02515"

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        return [dense, nn.SELU(inplace=True)]

    def initialize(self, weight: torch.Tensor) -> None:
        """LeCun normal, variance 1 / inputs. (torch's gain for `selu` is 3/4, which is not LeCun's.)"""
        nn.init.kaiming_normal_(weight, nonlinearity="linear")

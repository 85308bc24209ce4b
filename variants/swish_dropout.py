from collections.abc import Sequence
from typing import Any

from torch import nn

from variants import at_least, probability, register
from variants.swish_batch_norm import SwishBatchNorm


@register
class SwishDropout(SwishBatchNorm):
    """Swish with batch normalization, and dropout in the last hidden layers.

    Args:
        rate: Probability that a unit is dropped, before it is normalized.
        last_layers: Number of hidden layers with dropout, counted from the output.
        **dense: The keywords of `SwishBatchNorm`.
    """

    learning_rate = 1.4e-3
    reference = "Srivastava et al. 2014, JMLR 15:1929; Gal and Ghahramani 2016, arXiv:1506.02142"

    def __init__(self, *, rate: float = 0.25, last_layers: int = 2, **dense: Any) -> None:
        super().__init__(**dense)
        self.rate = probability("rate", rate)
        self.last_layers = at_least("last_layers", last_layers, 1)

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        block = list(super().hidden_block(dense, index))
        if index >= self.depth - self.last_layers:
            block.insert(1, nn.Dropout(self.rate))
        return block

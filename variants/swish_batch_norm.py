from collections.abc import Sequence
from typing import Any

from torch import nn

from variants import at_least, register, share
from variants.swish import Swish


@register
class SwishBatchNorm(Swish):
    """Swish with batch normalization before every activation and before the output layer.

    Args:
        momentum: Weight of a new batch in the running mean and variance; Keras's default of 0.99 is 0.01 here.
        eps: Added to the variance before its root is taken. Keras uses 1e-3.
        **dense: Depth, width and scaling, as in `DenseVariant`.
    """

    learning_rate = 2.3e-3
    reference = "Ramachandran et al. 2017, arXiv:1710.05941; Ioffe and Szegedy 2015, arXiv:1502.03167"

    def __init__(self, *, momentum: float = 0.1, eps: float = 1e-5, **dense: Any) -> None:
        super().__init__(**dense)
        self.momentum = share("momentum", momentum)
        self.eps = at_least("eps", eps, 0.0)

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        return [dense, self._normalization(dense.out_features), nn.SiLU()]

    def output_block(self, dense: nn.Linear) -> Sequence[nn.Module]:
        return [self._normalization(dense.in_features), dense]

    def _normalization(self, units: int) -> nn.Module:
        return nn.BatchNorm1d(units, momentum=self.momentum, eps=self.eps)

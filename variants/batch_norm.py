from collections.abc import Sequence
from typing import Any, get_args

from torch import nn

from variants import DenseVariant, at_least, one_of, register, share
from variants.techniques import Position


@register
class BatchNorm(DenseVariant):
    """The ELU baseline with batch normalization in every hidden layer.

    Args:
        position: Normalize `before` the activation, as the authors do, or `after` it.
        momentum: Weight of a new batch in the running mean and variance. Keras states the weight of the old ones:
            its default of 0.99 is 0.01 here.
        eps: Added to the variance before its root is taken. Keras uses 1e-3.
        **dense: Depth, width and scaling, as in `DenseVariant`.
    """

    learning_rate = 3.2e-4
    reference = "Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.2"

    def __init__(
        self, *, position: Position = "before", momentum: float = 0.1, eps: float = 1e-5, **dense: Any
    ) -> None:
        super().__init__(**dense)
        self.position = one_of("position", position, get_args(Position))
        self.momentum = share("momentum", momentum)
        self.eps = at_least("eps", eps, 0.0)

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        normalization = nn.BatchNorm1d(dense.out_features, momentum=self.momentum, eps=self.eps)
        activation = nn.ELU(inplace=True)
        if self.position == "before":
            return [dense, normalization, activation]
        return [dense, activation, normalization]

from collections.abc import Sequence
from typing import Literal

from torch import nn

from variants import DenseVariant, Scaling, one_of, register


@register
class BatchNorm(DenseVariant):
    """The ELU baseline with batch normalization in every hidden layer.

    Args:
        position: Normalize `before` the activation, as its authors do (hence the default), or `after` it.
        depth: Number of hidden layers.
        width: Units in each hidden layer.
        scaling: How pixels are scaled before they reach the network.
    """

    learning_rate = 3.2e-4
    reference = "Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.2"

    def __init__(
        self,
        *,
        position: Literal["before", "after"] = "before",
        depth: int = 20,
        width: int = 100,
        scaling: Scaling = "standardize",
    ) -> None:
        super().__init__(depth=depth, width=width, scaling=scaling)
        self.position = one_of("position", position, ("before", "after"))

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        normalization, activation = nn.BatchNorm1d(dense.out_features), nn.ELU(inplace=True)
        if self.position == "before":
            return [dense, normalization, activation]
        return [dense, activation, normalization]

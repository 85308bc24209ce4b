from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from variants import one_of, probability, register
from variants.selu import SELU


@register
class AlphaDropout(SELU):
    """SELU with alpha dropout, which keeps the activations' mean and variance.

    Args:
        rate: Probability that a unit is dropped.
        layers: Where dropout goes: after the `last` hidden layer only, or after `all` of them.
        **dense: Depth, width and scaling, as in `DenseVariant`.
    """

    learning_rate = 3.2e-4
    reference = "Klambauer et al. 2017, arXiv:1706.02515, section 'New Dropout Technique'"

    def __init__(self, *, rate: float = 0.1, layers: Literal["last", "all"] = "last", **dense: Any) -> None:
        super().__init__(**dense)
        self.rate = probability("rate", rate)
        self.layers = one_of("layers", layers, ("last", "all"))

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        block = super().hidden_block(dense, index)
        if self.layers == "all" or index == self.depth - 1:
            return [*block, nn.AlphaDropout(self.rate)]
        return block

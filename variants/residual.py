from collections import OrderedDict
from typing import Any

from torch import nn

from variants import at_least, register
from variants.dense import Dense
from variants.techniques import Activation, Normalization, Skip


@register
class Residual(Dense):
    """Identity connections around the hidden layers, which keep very deep networks trainable.

    The first hidden layer changes the number of features and has none. With `every=2` a hidden layer that is left over
    at the end gets one of its own.

    Args:
        every: Number of hidden layers that an identity connection goes around.
        activation: Activation of the hidden layers; see `Dense`.
        normalization: Normalization in every hidden layer; see `Dense`. Without any, activations grow with the depth.
        **dense: The other keywords of `Dense`.
    """

    learning_rate = 3.3e-3
    reference = "He et al. 2016, arXiv:1512.03385"

    def __init__(
        self, *, every: int = 1, activation: Activation = "elu", normalization: Normalization = "batch", **dense: Any
    ) -> None:
        super().__init__(activation=activation, normalization=normalization, **dense)
        self.every = at_least("every", every, 1)

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        flatten, first, *hidden, output = super().build(image_shape, num_classes).children()
        layers = OrderedDict[str, nn.Module](flatten=flatten, hidden_01=first)
        for start in range(0, len(hidden), self.every):
            blocks = hidden[start : start + self.every]
            name = f"hidden_{start + 2:02d}" + (f"_{start + 1 + len(blocks):02d}" if len(blocks) > 1 else "")
            layers[name] = Skip(*(module for block in blocks for module in block.children()))
        return nn.Sequential(OrderedDict(layers, output=output))

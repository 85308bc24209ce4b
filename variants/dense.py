from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import nn

from variants import DenseVariant, at_least, one_of, probability, register
from variants.techniques import (
    ACTIVATIONS,
    INITIALIZATIONS,
    NORMALIZATIONS,
    Activation,
    Initialization,
    Normalization,
    Position,
    StandardizedLinear,
)


@register
class Dense(DenseVariant):
    """Any activation, normalization, initialization and dropout: for studies that change one of them.

    The papers are named in `variants/techniques.py`.

    Args:
        activation: Activation of the hidden layers; `silu` is Swish. `prelu` learns the slope of each unit, `rrelu`
            draws slopes at random in training.
        normalization: Normalization in every hidden layer: by the statistics of the `batch`, or of each image over the
            units of the `layer` (mean and variance), or `rms` (root mean square).
        position: Normalize `before` or `after` the activation.
        weight_standardization: Standardize the weights of each hidden unit before each use.
        initialization: Normal weights of variance 2 / inputs (`he`), 2 / (inputs + units) (`glorot`) or 1 / inputs
            (`lecun`); or `equal`: every weight 1 / inputs, so that the units of a layer never differ.
        bias_std: Standard deviation of the initial biases; 0 starts them at zero.
        dropout: Probability that a unit is dropped, after every hidden layer.
        **dense: Depth, width and scaling, as in `DenseVariant`.
    """

    learning_rate = 2.3e-4
    reference = "He et al. 2015, arXiv:1502.01852; Glorot and Bengio 2010, PMLR 9:249"

    def __init__(
        self,
        *,
        activation: Activation = "relu",
        normalization: Normalization = "none",
        position: Position = "before",
        weight_standardization: bool = False,
        initialization: Initialization = "he",
        bias_std: float = 0.0,
        dropout: float = 0.0,
        **dense: Any,
    ) -> None:
        super().__init__(**dense)
        self.activation = one_of("activation", activation, get_args(Activation))
        self.normalization = one_of("normalization", normalization, get_args(Normalization))
        self.position = one_of("position", position, get_args(Position))
        self.weight_standardization = weight_standardization
        self.initialization = one_of("initialization", initialization, get_args(Initialization))
        self.bias_std = at_least("bias_std", bias_std, 0.0)
        self.dropout = probability("dropout", dropout)

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        units = dense.out_features
        block: list[nn.Module] = [ACTIVATIONS[self.activation](units)]
        if self.normalization != "none":
            normalization = NORMALIZATIONS[self.normalization](units)
            block.insert(0 if self.position == "before" else 1, normalization)
        if self.dropout:
            block.append(nn.Dropout(self.dropout))
        return [_standardized(dense) if self.weight_standardization else dense, *block]

    def initialize(self, weight: torch.Tensor) -> None:
        INITIALIZATIONS[self.initialization](weight)

    def initialize_bias(self, bias: torch.Tensor) -> None:
        nn.init.normal_(bias, std=self.bias_std)


def _standardized(dense: nn.Linear) -> StandardizedLinear:
    """A layer with the same parameters that standardizes its weights."""
    layer: StandardizedLinear = nn.utils.skip_init(StandardizedLinear, dense.in_features, dense.out_features)
    layer.weight, layer.bias = dense.weight, dense.bias
    return layer

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import nn

from variants import DenseVariant, Scaling, one_of, probability, register

Activation = Literal["relu", "leaky_relu", "elu", "selu", "silu", "gelu", "tanh", "sigmoid"]
Initialization = Literal["he", "glorot", "lecun", "equal"]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, inplace=True),
    "elu": partial(nn.ELU, inplace=True),
    "selu": partial(nn.SELU, inplace=True),
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


@register
class Dense(DenseVariant):
    """Any activation, initialization and dropout: for studies that change one of them.

    Args:
        activation: The hidden layers' activation; `silu` is Swish.
        initialization: Normal weights of variance 2 / inputs (`he`), 2 / (inputs + units) (`glorot`) or 1 / inputs
            (`lecun`); or `equal`: every weight 1 / inputs, so that a layer's units can never differ.
        bias_std: Standard deviation of the initial biases; 0 starts them at zero.
        dropout: Probability that a unit is dropped, after every hidden layer.
        depth: Number of hidden layers.
        width: Units in each hidden layer.
        scaling: How pixels are scaled before they reach the network.
    """

    learning_rate = 2.3e-4
    reference = "He et al. 2015, arXiv:1502.01852; Glorot and Bengio 2010, PMLR 9:249"

    def __init__(
        self,
        *,
        activation: Activation = "relu",
        initialization: Initialization = "he",
        bias_std: float = 0.0,
        dropout: float = 0.0,
        depth: int = 20,
        width: int = 100,
        scaling: Scaling = "standardize",
    ) -> None:
        super().__init__(depth=depth, width=width, scaling=scaling)
        self.activation = one_of("activation", activation, get_args(Activation))
        self.initialization = one_of("initialization", initialization, get_args(Initialization))
        if bias_std < 0:
            raise ValueError(f"bias_std={bias_std} is too small: it must be at least 0.")
        self.bias_std = bias_std
        self.dropout = probability("dropout", dropout)

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        block = [dense, _ACTIVATIONS[self.activation]()]
        return [*block, nn.Dropout(self.dropout)] if self.dropout else block

    def initialize(self, weight: torch.Tensor) -> None:
        if self.initialization == "he":
            super().initialize(weight)
        elif self.initialization == "glorot":
            nn.init.xavier_normal_(weight)
        elif self.initialization == "lecun":
            nn.init.kaiming_normal_(weight, nonlinearity="linear")
        else:
            nn.init.constant_(weight, 1 / weight.shape[1])

    def initialize_bias(self, bias: torch.Tensor) -> None:
        nn.init.normal_(bias, std=self.bias_std)

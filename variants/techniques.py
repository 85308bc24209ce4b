"""The choices of `Dense` by name: activations, normalizations, initializations, and the layers that torch lacks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

Activation = Literal[
    "relu", "leaky_relu", "prelu", "rrelu", "elu", "selu", "silu", "gelu", "mish", "tanh", "sigmoid"
]  # fmt: skip
"""`relu`: Nair and Hinton 2010. `leaky_relu`: Maas et al. 2013. `prelu`, a learned slope for each unit: He et al. 2015,
arXiv:1502.01852. `rrelu`, random slopes in training and their mean afterwards: Xu et al. 2015, arXiv:1505.00853.
`elu`: Clevert et al. 2016, arXiv:1511.07289. `selu`: Klambauer et al. 2017, arXiv:1706.02515. `silu`, also known as
Swish: Ramachandran et al. 2017, arXiv:1710.05941. `gelu`: Hendrycks and Gimpel 2016, arXiv:1606.08415. `mish`: Misra
2019, arXiv:1908.08681."""

Normalization = Literal["none", "batch", "layer", "rms"]
"""`batch`: Ioffe and Szegedy 2015, arXiv:1502.03167. `layer`: Ba et al. 2016, arXiv:1607.06450. `rms`: Zhang and
Sennrich 2019, arXiv:1910.07467."""

Initialization = Literal["he", "glorot", "lecun", "equal"]
"""`he`: He et al. 2015, arXiv:1502.01852. `glorot`: Glorot and Bengio 2010, PMLR 9:249. `lecun`: LeCun et al. 1998,
Efficient BackProp, section 4.6. `equal`: every weight 1 / inputs, so that the units of a layer never differ."""

Position = Literal["before", "after"]
"""Whether normalization comes before or after the activation."""

ACTIVATIONS: dict[Activation, Callable[[int], nn.Module]] = {
    "relu": lambda units: nn.ReLU(inplace=True),
    "leaky_relu": lambda units: nn.LeakyReLU(inplace=True),
    "prelu": nn.PReLU,
    "rrelu": lambda units: nn.RReLU(),
    "elu": lambda units: nn.ELU(inplace=True),
    "selu": lambda units: nn.SELU(inplace=True),
    "silu": lambda units: nn.SiLU(),
    "gelu": lambda units: nn.GELU(),
    "mish": lambda units: nn.Mish(),
    "tanh": lambda units: nn.Tanh(),
    "sigmoid": lambda units: nn.Sigmoid(),
}
"""Functions that make the activation of a layer, given its number of units."""

NORMALIZATIONS: dict[Normalization, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
}
"""Functions that make the normalization of a layer, given its number of units. `none` has no function."""


def _equal(weight: Tensor) -> Tensor:
    return nn.init.constant_(weight, 1 / weight.shape[1])


INITIALIZATIONS: dict[Initialization, Callable[[Tensor], Tensor]] = {
    "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "glorot": nn.init.xavier_normal_,
    "lecun": partial(nn.init.kaiming_normal_, nonlinearity="linear"),
    "equal": _equal,
}
"""Functions that fill a dense layer's weight [units, inputs] in place."""


class StandardizedLinear(nn.Linear):
    """A dense layer whose weights are standardized before each use: mean 0 and variance 1 / inputs for each unit.

    Weight standardization (Qiao et al. 2019, arXiv:1903.10520), scaled by the number of inputs so that it also works
    without normalization (Brock et al. 2021, arXiv:2101.08692, equation 1).
    """

    def forward(self, inputs: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, 1, correction=0, keepdim=True)
        weight = (self.weight - mean) * (variance * self.in_features + 1e-5).rsqrt()
        return F.linear(inputs, weight, self.bias)


class Skip(nn.Sequential):
    """Layers with an identity connection around them: x + layers(x), for x [B, units]."""

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = inputs
        for layer in self:
            outputs = layer(outputs)
        return inputs + outputs

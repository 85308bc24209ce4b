"""Comparison of a compiled training step with the eager one, before training relies on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lit_cifar.data.batches import Batch

SMALL_SHARE = 0.1
"""Gradients are compared relative to their own norm, or to this share of the largest norm if that is more: rounding
errors are all there is to the gradient of a bias before batch normalization."""

Gradients = Sequence[tuple[nn.Parameter, Tensor | None]]


def eager_gradients(
    network: nn.Module, loss_function: Callable[[nn.Module, Batch], tuple[Tensor, Tensor]], batch: Batch
) -> Gradients:
    """Each parameter of a network with its gradient by autograd; frozen and unused ones have None."""
    parameters = list(network.parameters())
    learning = [p for p in parameters if p.requires_grad]
    with torch.enable_grad():
        loss, _ = loss_function(network, batch)
        found = torch.autograd.grad(loss, learning, allow_unused=True)
    gradients = {id(p): gradient for p, gradient in zip(learning, found, strict=True)}
    return [(p, gradients.get(id(p))) for p in parameters]


def differing(names: Mapping[str, nn.Parameter], found: Gradients, expected: Gradients) -> list[str]:
    """Names of the parameters whose gradients differ by more than rounding errors."""
    by_parameter = {id(p): gradient for p, gradient in found}
    pairs = {id(p): (_or_zero(by_parameter.get(id(p)), p), _or_zero(gradient, p)) for p, gradient in expected}
    errors = {key: (one - other).norm().item() for key, (one, other) in pairs.items()}
    norms = {key: other.norm().item() for key, (_, other) in pairs.items()}
    least = SMALL_SHARE * max(norms.values(), default=0.0)
    tolerance = 4 * math.sqrt(max((_precision(p) for p in names.values()), default=0.0))
    return [name for name, p in names.items() if not errors[id(p)] <= tolerance * max(norms[id(p)], least)]


def _or_zero(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor:
    found = torch.zeros_like(parameter) if gradient is None else gradient
    return found.detach().to(torch.promote_types(found.dtype, torch.float32))


def _precision(parameter: nn.Parameter) -> float:
    """The relative rounding error of matrix products with a parameter."""
    kind = parameter.device.type
    if torch.is_autocast_enabled(kind):
        return torch.finfo(torch.get_autocast_dtype(kind)).eps
    if kind == "cuda" and torch.get_float32_matmul_precision() != "highest":
        return max(2**-10, torch.finfo(parameter.dtype).eps)  # TensorFloat32 has 10 bits
    return torch.finfo(parameter.dtype).eps

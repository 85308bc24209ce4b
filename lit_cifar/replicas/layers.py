"""Layer statistics of all networks of a stack at once, as LayerStatistics logs them for a single network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn, vmap
from torch.func import functional_call

from lit_cifar.callbacks.layer_statistics import evaluating, layers_of, outputs_of, root_mean_square, unit_statistics
from lit_cifar.replicas.network import StackedNetwork


@torch.no_grad()
def activation_statistics(network: StackedNetwork, images: Tensor) -> dict[str, Tensor]:
    """Statistics [R] of each layer's output for uint8 images [R, N, C, H, W], named `<statistic>/<layer>`."""
    parts = layers_of(network.each)

    def of_one(tensors: Mapping[str, Tensor], images: Tensor) -> dict[str, Tensor]:
        with outputs_of(parts) as outputs:
            functional_call(network.each, dict(tensors), (images,))
        return unit_statistics(outputs)

    with evaluating(network):
        found: dict[str, Tensor] = vmap(of_one, randomness="different")(dict(network.tensors()), images)
    return found


def weights_by_layer(network: StackedNetwork) -> dict[str, Tensor]:
    """A copy of each layer's weights, [R, weights]."""
    return {name: _rows([p.detach() for p in part.parameters()]) for name, part in layers_of(network.each).items()}


def step_statistics(network: StackedNetwork, before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient (root mean square) and update ratio [R] of each layer, in the step that began with these weights."""
    found = {}
    for name, part in layers_of(network.each).items():
        gradients = _rows([_gradient(p) for p in part.parameters()])
        change = _rows([p.detach() for p in part.parameters()]) - before[name]
        found[f"gradient_rms/{name}"] = root_mean_square(gradients)
        found[f"update_ratio/{name}"] = change.norm(dim=1) / before[name].norm(dim=1)
    return found


def _gradient(p: nn.Parameter) -> Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad


def _rows(tensors: list[Tensor]) -> Tensor:
    """Tensors [R, ...] as one, with a row for each replica."""
    return torch.cat([tensor.reshape(len(tensor), -1) for tensor in tensors], 1)

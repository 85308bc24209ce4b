"""Networks of equal shape as one module with stacked parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn, vmap
from torch.func import functional_call

from lit_cifar.replicas.dropout import seed_dropout, seeded_layers, starts
from lit_cifar.speed.shared_modules import shared_module


class NotStackableError(Exception):
    """These runs can't be trained as one stack; the message says why."""


class StackedNetwork(nn.Module):
    """R networks of equal shape as one module: it takes images [R, B, ...] and returns logits [R, B, classes].

    Each parameter and buffer is a tensor [R, ...] whose slice k belongs to network k. The forward pass is `torch.vmap`
    over `torch.func.functional_call`, so it works for every network that torch can vmap. The masks of torch's dropout
    layers depend on the network's seed; other random layers draw different numbers for each network.

    Args:
        networks: The networks, each with its own weights. They aren't changed.
        seeds: The seed of each network.

    Raises:
        NotStackableError: If the names, shapes or types of their parameters and buffers differ.
    """

    def __init__(self, networks: Sequence[nn.Module], seeds: Sequence[int]) -> None:
        super().__init__()
        _check_equal_shapes(networks)
        self.each = copy.deepcopy(networks[0])
        with torch.no_grad():
            alone = [_tensors(network) for network in networks]
            for name, tensor in self.tensors().items():
                tensor.data = torch.stack([tensors[name].detach() for tensors in alone])
        seed_dropout(self.each)
        for number, layer in enumerate(seeded_layers(self.each)):
            layer.start = starts(number, seeds)
        self.set_steps(0)

    @property
    def replicas(self) -> int:
        """The number of networks."""
        return len(next(iter(self.tensors().values())))

    def tensors(self) -> Mapping[str, Tensor]:
        """All parameters and buffers [R, ...], by their names in a single network."""
        return _tensors(self.each)

    def forward(self, images: Tensor) -> Any:
        return vmap(self._outputs, randomness="different")(dict(self.tensors()), images)

    def _outputs(self, tensors: Mapping[str, Tensor], images: Tensor) -> Any:
        return functional_call(self.each, dict(tensors), (images,))

    def steps(self) -> list[int]:
        """How often each dropout layer has been called in training, on which its masks depend."""
        return [int(layer.step[0]) for layer in seeded_layers(self.each)]

    def set_steps(self, steps: int | Sequence[int]) -> None:
        """Set what `steps` returns; one number is for all layers."""
        layers = list(seeded_layers(self.each))
        for layer, step in zip(layers, [steps] * len(layers) if isinstance(steps, int) else steps, strict=True):
            layer.step = torch.full_like(layer.start, step)

    @torch.no_grad()
    def keep(self, replicas: Sequence[int]) -> None:
        """Remove all other networks. The parameters stay the same objects, without gradients."""
        for tensor in self.tensors().values():
            tensor.grad = None
            tensor.data = tensor.data[list(replicas)]


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _check_equal_shapes(networks: Sequence[nn.Module]) -> None:
    first = _shapes(networks[0])
    for network in networks[1:]:
        if _shapes(network) != first:
            raise NotStackableError("the networks of different seeds don't have the same parameters and buffers.")
    if not first:
        raise NotStackableError("the network has no parameters.")
    if name := shared_module(networks[0]):
        raise NotStackableError(f"{name} is in several places of the network.")


def _shapes(network: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype, bool]]:
    return {name: (t.shape, t.dtype, t.requires_grad) for name, t in _tensors(network).items()}

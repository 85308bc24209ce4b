"""Dropout in a stack: masks depend only on the replica's seed and the step, not on the other replicas."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lit_cifar.uncertainty.masks import GOLDEN_GAMMA, splitmix64
from lit_cifar.uncertainty.switch import affine

TORCHS_OWN = (nn.Dropout.forward, nn.AlphaDropout.forward)

RANDOM_BITS = 31
"""Random bits per unit. Dropout rates are rounded to the nearest 2⁻³¹."""


class SeededDropout(nn.Module):
    """Replaces one of torch's dropout layers. Its random numbers are functions of seed, layer, step and unit.

    The random bits come from SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195). They don't depend on
    torch's random state or on other replicas, so a replica drops the same units in every stack, and after resuming.
    torch's layer would drop other units, with the same distribution.

    Args:
        layer: The layer, an `nn.Dropout` or `nn.AlphaDropout`.
    """

    start: Tensor
    step: Tensor

    def __init__(self, layer: nn.Dropout | nn.AlphaDropout) -> None:
        super().__init__()
        self.layer = layer
        self.training = layer.training
        self.register_buffer("start", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.layer.p:
            return x
        key = splitmix64(self.start + self.step * GOLDEN_GAMMA)
        self.step.add_(1)
        units = torch.arange(1, x.numel() + 1, device=x.device)
        bits = splitmix64(key + units * GOLDEN_GAMMA) & (2**RANDOM_BITS - 1)
        keep = (bits >= round(self.layer.p * 2**RANDOM_BITS)).view(x.shape)
        scale, floor, shift = affine(self.layer)
        return torch.where(keep, x, floor) * scale + shift


def seed_dropout(network: nn.Module) -> None:
    """Replace torch's elementwise dropout layers in a network. Other random layers draw from torch's generator."""
    for name, layer in list(network.named_modules(remove_duplicate=False)):  # one layer may be in several places
        if isinstance(layer, (nn.Dropout, nn.AlphaDropout)) and type(layer).forward in TORCHS_OWN:
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, SeededDropout(layer))


def seeded_layers(network: nn.Module) -> Iterator[SeededDropout]:
    """The layers that `seed_dropout` has put into a network."""
    return (module for module in network.modules() if isinstance(module, SeededDropout))


def starts(layer: int, seeds: Sequence[int]) -> Tensor:
    """The start of a layer's random numbers for each seed, int64 [R]."""
    digests = (hashlib.blake2b(f"dropout {seed} {layer}".encode(), digest_size=8).digest() for seed in seeds)
    return torch.tensor([int.from_bytes(digest, "little", signed=True) for digest in digests])

"""The layers of a network, for assertions."""

from __future__ import annotations

from torch import nn

IMAGE_SHAPE = (3, 32, 32)


def dense_layers(network: nn.Module) -> list[nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def positions(network: nn.Module, kind: type[nn.Module]) -> list[int]:
    """Which hidden layers (1 is nearest the image) hold a module of a kind."""
    blocks = [(name, block) for name, block in network.named_children() if name.startswith("hidden")]
    return [int(name[-2:]) for name, block in blocks if any(isinstance(m, kind) for m in block)]

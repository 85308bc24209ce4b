"""Modules that are in several places of a network."""

from __future__ import annotations

from collections import Counter

from torch import nn


def shared_module(network: nn.Module) -> str:
    """The name of a module with parameters or buffers of its own that is in several places; empty if there is none.

    `torch.func.functional_call` puts other tensors into a module once for each of its names, and then doesn't restore
    the module's own.
    """
    places = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    return next((name for name, module in network.named_modules() if places[id(module)] > 1 and _has_own(module)), "")


def _has_own(module: nn.Module) -> bool:
    return bool([*module.parameters(recurse=False), *module.buffers(recurse=False)])

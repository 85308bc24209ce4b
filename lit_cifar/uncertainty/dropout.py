"""Finds what drops units in a network, and switches it on for Monte Carlo sampling."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from lit_cifar.uncertainty.masks import Masks
from lit_cifar.uncertainty.switch import CHANNELWISE, ELEMENTWISE, Switch, is_dropout
from lit_cifar.utils.errors import UserError

_MARK = "_lit_cifar_stochastic"
_RANDOM_NAME = re.compile("drop|stochastic|noise", re.IGNORECASE)
_RATES = ("p", "drop_prob", "rate", "sigma", "std")


@contextmanager
def masked_dropout(network: nn.Module, masks: Masks, *, stochastic: Sequence[nn.Module] = ()) -> Iterator[Switch]:
    """Inside, the network is in evaluation mode, but what drops units does so by the masks.

    Before each forward pass, `select` says which samples and images its rows are. Afterwards everything is as it was,
    also after an exception. The network must not be used from another thread meanwhile.

    Args:
        network: The network.
        masks: The masks.
        stochastic: Other modules that are random in training mode; they stay in that mode.

    Raises:
        UserError: If a dropout layer overrides `forward` and isn't one of the `stochastic` modules.
    """
    switch = Switch(masks)
    layers = [module for module in network.modules() if _rate(module) > 0 and module not in stochastic]
    _check_forwards(layers)
    modes = {module: module.training for module in network.modules()}
    with ExitStack() as stack:
        stack.callback(_set_modes, modes)
        # fused attention would bypass the dropout layers inside torch's transformer layers
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and the import would take seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for layer in layers:
            _switch_on(layer, switch, stack)
        _set_modes({module: module in stochastic for module in modes})
        yield switch


def dropout_layers(network: nn.Module) -> list[nn.Module]:
    """The modules of a network that Monte Carlo dropout switches on: dropout layers of a rate above 0, attention and
    recurrent networks of torch with dropout of their own, and declared modules.

    Calls of `torch.nn.functional.dropout` are sampled, too, but only a forward pass shows them.
    """
    return [module for module in network.modules() if _rate(module) > 0 or getattr(module, _MARK, False)]


def declare_stochastic(modules: Iterable[nn.Module]) -> None:
    """Mark modules, such as stochastic depth, that Monte Carlo dropout is to keep in training mode."""
    for module in modules:
        setattr(module, _MARK, True)


def declared_stochastic(network: nn.Module) -> list[nn.Module]:
    """The modules of a network that `declare_stochastic` was given."""
    return [module for module in network.modules() if getattr(module, _MARK, False)]


def not_sampled(network: nn.Module, stochastic: Sequence[nn.Module] | None = None) -> dict[str, nn.Module]:
    """The parts of a network, by name, that seem to be random in training but stay off in Monte Carlo sampling.

    They are scripted or traced with dropout inside, or their class is named like `StochasticDepth`, `DropPath` or
    `GaussianNoise` and their rate isn't 0. Whether they call `torch.nn.functional.dropout`, which is sampled, only a
    forward pass can tell.

    Args:
        network: The network.
        stochastic: Modules that are sampled although they aren't torch's dropout layers. Default: those declared.
    """
    stochastic = declared_stochastic(network) if stochastic is None else stochastic
    return {
        name: module
        for name, module in network.named_modules()
        if module not in stochastic and (_seems_random(module) or is_scripted_dropout(module))
    }


def is_scripted_dropout(module: nn.Module) -> bool:
    """Whether a module was compiled by `torch.jit` and calls dropout."""
    return isinstance(module, torch.jit.ScriptModule) and "dropout(" in str(module.inlined_graph)


def _check_forwards(layers: Iterable[nn.Module]) -> None:
    known = {kind.forward for kind in (*ELEMENTWISE, *CHANNELWISE)}
    for layer in layers:
        if is_dropout(layer) and type(layer).forward not in known:
            raise UserError(
                f"{type(layer).__name__} has a forward of its own, so what it drops can't be decided from outside. "
                "Use one of torch's own dropout layers, or declare it as a stochastic layer."
            )


def _rate(module: nn.Module) -> float:
    """The rate at which a module of torch drops units; 0 for all others."""
    if is_dropout(module):
        return float(module.p)
    if isinstance(module, nn.MultiheadAttention):
        return float(module.dropout)
    if isinstance(module, nn.RNNBase) and module.num_layers > 1:
        return float(module.dropout)
    return 0.0


def _switch_on(layer: nn.Module, switch: Switch, stack: ExitStack) -> None:
    if is_dropout(layer):
        stack.callback(layer.register_forward_pre_hook(switch.before_layer, prepend=True).remove)
        hook = layer.register_forward_hook(switch.after_layer, prepend=True)
    elif isinstance(layer, nn.MultiheadAttention):
        hook = layer.register_forward_hook(switch.after_attention, prepend=True, with_kwargs=True)
    else:
        hook = layer.register_forward_hook(switch.after_recurrent, prepend=True, with_kwargs=True)
    stack.callback(hook.remove)


def _seems_random(module: nn.Module) -> bool:
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule) or kind.__module__.startswith("torch.nn."):
        return False
    if not _RANDOM_NAME.search(kind.__name__) or any(map(_rate, module.modules())):
        return False
    rates = [value for name in _RATES if isinstance(value := getattr(module, name, None), int | float)]
    return not rates or any(rates)


def _set_modes(modes: dict[nn.Module, bool]) -> None:
    # not train(): networks override it, to freeze or to merge layers
    for module, training in modes.items():
        module.training = training

"""Plans Monte Carlo sampling: what the samples of a network share, and how many rows it takes at a time."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lit_cifar.uncertainty.dropout import dropout_layers, not_sampled
from lit_cifar.uncertainty.switch import FunctionalDropout, Switch, is_dropout
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.module_hooks import count_forward_hooks

MEMORY_BUDGET = 256 * 2**20
"""Default for the bytes that activations and masks may take at a time."""

_LIVE_TENSORS = 8
"""Number of tensors as large as the largest activation that exist at once, masks and workspaces included."""

_MOST_IMAGES = 1024
_FEWEST_ROWS = 1024
_CPU_ACTIVATION = 8 * 2**20
"""Bytes of an activation on a CPU. More don't fit into its cache; with fewer the cost of calls shows."""

_DECLARE = "Declare them as stochastic layers to sample them (`stochastic=…`, or a variant's `stochastic_layers`)."


@dataclass(frozen=True)
class Request:
    """What to sample; see `mc_predict`."""

    network: nn.Module
    images: Tensor
    samples: int
    indices: range
    seed: int
    memory_budget: int
    stochastic: Sequence[nn.Module]

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters(), self.images).device


@dataclass(frozen=True)
class Plan:
    """The modules that all samples share, those that each runs, and how many images and rows they take at a time."""

    shared: Sequence[nn.Module]
    sampled: Sequence[nn.Module]
    sampling: AbstractContextManager[object]
    images: int
    rows: int


def make_plan(request: Request, switch: Switch) -> Plan:
    """Try the network on two images: what do its samples share, and how much memory does a row take?"""
    images = request.images[:2].to(request.device, copy=True)
    links = chain(request.network)
    first, functional = _first_random(links, request, switch, images.clone())
    sampling: AbstractContextManager[object] = functional if functional.calls else nullcontext()
    x, shared_bytes = _measure(links[:first], images)
    if not isinstance(x, Tensor) or len(x) != len(images):
        first, x = 0, images
    switch.select(range(1), range(len(images)))
    with sampling, seeded_noise(request, range(1), range(len(images))):
        logits, sampled_bytes = _measure(links[first:], x)
    _check(logits, len(images))
    needed = _LIVE_TENSORS * max(shared_bytes, sampled_bytes)
    if needed > request.memory_budget:
        raise UserError(f"memory_budget={request.memory_budget} is too small: one image takes about {needed} bytes.")
    rows = request.memory_budget // (_LIVE_TENSORS * sampled_bytes)
    if images.device.type == "cpu":
        rows = min(rows, max(_FEWEST_ROWS, _CPU_ACTIVATION // sampled_bytes))
    return Plan(links[:first], links[first:], sampling, min(request.memory_budget // needed, _MOST_IMAGES), rows)


def _first_random(
    links: Sequence[nn.Module], request: Request, switch: Switch, x: Any
) -> tuple[int, FunctionalDropout]:
    """The index of the first link that is random, and the mode that counted calls of dropout functions.

    Raises:
        UserError: If nothing in the network is random.
    """
    active = {*dropout_layers(request.network), *request.stochastic}
    suspects = not_sampled(request.network, request.stochastic)
    functional = FunctionalDropout(switch)
    random = [not active.isdisjoint(link.modules()) for link in links]
    switch.select(range(1), range(len(x)))
    with functional, seeded_noise(request, range(1), range(len(x))), _without_callers(suspects, functional):
        for index, link in enumerate(links):
            calls, x = functional.calls, link(x)
            random[index] |= functional.calls > calls
    if not any(random):
        raise UserError(_nothing_random(request.network, suspects))
    if active and not switch.calls and not request.stochastic:
        raise UserError("The network's forward pass uses none of its dropout layers: every sample would be the same.")
    if suspects:
        names = ", ".join(f"{name} ({type(module).__name__})" for name, module in suspects.items())
        warnings.warn(f"Monte Carlo dropout leaves these parts off: {names}. {_DECLARE}", stacklevel=2)
    return random.index(True), functional


@contextmanager
def _without_callers(suspects: dict[str, nn.Module], functional: FunctionalDropout) -> Iterator[None]:
    """Take modules out of the suspects that call a dropout function in a forward pass inside."""
    before: dict[nn.Module, int] = {}
    callers: set[nn.Module] = set()

    def enter(module: nn.Module, inputs: object) -> None:
        before[module] = functional.calls

    def leave(module: nn.Module, inputs: object, output: object) -> None:
        if functional.calls > before[module]:
            callers.add(module)

    hooks = [module.register_forward_pre_hook(enter) for module in suspects.values()]
    hooks += [module.register_forward_hook(leave) for module in suspects.values()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    for name in [name for name, module in suspects.items() if module in callers]:
        del suspects[name]


def _nothing_random(network: nn.Module, suspects: Mapping[str, nn.Module]) -> str:
    layers = [module for module in network.modules() if is_dropout(module)]
    found = f"its {len(layers)} dropout layers all have p=0" if layers else "it has no dropout layers"
    message = f"Monte Carlo dropout needs a network that drops units, but {found}."
    if suspects:
        kinds = ", ".join(sorted({type(module).__name__ for module in suspects.values()}))
        return f"{message} {kinds} can be sampled, too. {_DECLARE}"
    return f"{message} Use one that was trained with dropout layers of p above 0."


def _check(logits: object, images: int) -> None:
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != images:
        found = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else f"type {type(logits).__name__}"
        raise UserError(f"The network must return logits [N, C], but {images} images gave an output of {found}.")


def run(modules: Sequence[nn.Module], x: Any) -> Any:
    for module in modules:
        x = module(x)
    return x


def _measure(modules: Sequence[nn.Module], x: Tensor) -> tuple[Any, int]:
    """The output of the modules, and the bytes per row of the largest tensor on the way."""
    rows, largest = len(x), x.nbytes

    def note(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        outputs = output if isinstance(output, tuple) else (output,)
        largest = max([largest, *(tensor.nbytes for tensor in outputs if isinstance(tensor, Tensor))])

    hooks = [part.register_forward_hook(note) for module in modules for part in module.modules()]
    try:
        return run(modules, x), -(-largest // rows)
    finally:
        for hook in hooks:
            hook.remove()


def chain(network: nn.Module) -> list[nn.Module]:
    """The modules that a network applies in turn: those of plain, maybe nested `nn.Sequential`, else itself alone."""
    if (
        not isinstance(network, nn.Sequential)
        or type(network).forward is not nn.Sequential.forward
        or "forward" in vars(network)
        or count_forward_hooks(network) != 0
    ):
        return [network]
    return [link for child in network for link in chain(child)]


@contextmanager
def seeded_noise(request: Request, samples: range, images: range) -> Iterator[None]:
    """Inside, torch's generators are seeded, if there are stochastic modules that use them."""
    if not request.stochastic:
        yield
        return
    cuda = [request.device] if request.device.type == "cuda" else []
    digest = hashlib.blake2b(f"{request.seed} {samples} {images}".encode(), digest_size=7).digest()
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(int.from_bytes(digest, "little"))
        for device in cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(int.from_bytes(digest, "little"))
        yield

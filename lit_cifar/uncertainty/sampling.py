"""The logits of many Monte Carlo samples, piece by piece; what the samples share is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from lit_cifar.uncertainty.dropout import Masks, SeededMasks, Switch, active_dropout, masked_dropout, takes_masks
from lit_cifar.utils.errors import UserError

MEMORY_BUDGET = 256 * 2**20
"""Bytes that activations and masks may take at a time, unless said otherwise."""

_LIVE_TENSORS = 8
"""How many tensors as large as the largest activation live at once, masks and workspaces included."""

_MOST_IMAGES = 1024
_FEWEST_ROWS = 1024
_CPU_ACTIVATION = 8 * 2**20
"""Bytes of an activation on a CPU: more miss its cache, fewer make the cost of calls tell."""

_KEPT_BY_MALLOC = 31 * 2**20
"""Bytes just below the largest block that glibc's malloc can learn to keep for the next call."""


@dataclass(frozen=True)
class Piece:
    """Logits [samples, images, C] of some samples of some images, by their places among all of them."""

    samples: range
    images: range
    logits: Tensor


@contextmanager
def sampled_logits(
    network: nn.Module,
    images: Tensor,
    *,
    samples: int,
    masks: Masks | Literal["independent", "shared"] = "independent",
    seed: int | torch.Generator = 0,
    numbers: range | None = None,
    memory_budget: int = MEMORY_BUDGET,
) -> Iterator[Iterator[Piece]]:
    """All samples of some images, then of the next images: `with sampled_logits(…) as pieces: for piece in pieces: …`.

    The arguments, and the errors raised, are those of `mc_predict`.
    """
    if samples < 1:
        raise UserError(f"samples={samples} gives no prediction: ask for at least 1.")
    if not len(images):
        raise UserError("There are no images to predict: give a tensor [N, ...] of at least one.")
    numbers = range(len(images)) if numbers is None else numbers
    if len(numbers) != len(images):
        raise UserError(f"numbers={numbers} numbers {len(numbers)} images, but there are {len(images)}.")
    with torch.no_grad(), masked_dropout(network, _masks(masks, seed)) as switch:
        yield _pieces(network, images, samples, numbers, switch, memory_budget)


def chain(network: nn.Module) -> list[nn.Module]:
    """The modules that the network applies one after the other: itself alone, unless it is plainly sequential."""
    if (
        not isinstance(network, nn.Sequential)
        or type(network).forward is not nn.Sequential.forward
        or "forward" in vars(network)
        or network._forward_hooks
        or network._forward_pre_hooks
    ):
        return [network]
    return [link for child in network for link in chain(child)]


def _masks(masks: Masks | str, seed: int | torch.Generator) -> Masks:
    if isinstance(masks, Masks):
        return masks
    if masks not in ("independent", "shared"):
        raise UserError(f"masks={masks!r} is not a choice: use 'independent', 'shared' or a Masks object.")
    if isinstance(seed, torch.Generator):
        seed = int(torch.randint(2**62, (), generator=seed, device=seed.device))
    return SeededMasks(seed, shared=masks == "shared")


@dataclass(frozen=True)
class _Plan:
    """The modules that all samples share, those that each runs, and how many images and rows they take at a time."""

    shared: Sequence[nn.Module]
    sampled: Sequence[nn.Module]
    images: int
    rows: int


def _pieces(
    network: nn.Module, images: Tensor, samples: int, numbers: range, switch: Switch, memory_budget: int
) -> Iterator[Piece]:
    # glibc gives freed memory back, to fetch it again page by page, unless it has seen a larger block freed
    torch.empty(_KEPT_BY_MALLOC, dtype=torch.uint8)
    device = next(network.parameters(), images).device
    plan = _make_plan(network, images[:2].to(device, copy=True), switch, memory_budget)
    for block in _ranges(range(len(images)), plan.images):
        # a copy, for a first layer that works in place
        x = _run(plan.shared, images[block.start : block.stop].to(device, copy=True))
        for part in _ranges(block, max(1, plan.rows // samples)):
            for some_samples in _ranges(range(samples), max(1, plan.rows // len(part))):
                switch.select(some_samples, numbers[part.start : part.stop])
                some_x = x[part.start - block.start : part.stop - block.start]
                logits = _sample(plan.sampled, switch, some_x, len(some_samples))
                yield Piece(some_samples, part, logits.reshape(len(some_samples), len(part), -1))


def _sample(links: Sequence[nn.Module], switch: Switch, x: Tensor, samples: int) -> Any:
    """Logits [samples * N, C] of images [N, ...]."""
    match links:
        case [_DropoutNd() as dropout, nn.Linear() as linear, *others] if takes_masks(linear, dropout, x):
            # masked weights [samples, C, units] or [N, C, units] must be smaller than activations
            if 2 * linear.out_features <= min(samples, len(x)):
                return _run(others, switch.linear(linear, dropout, x))
    # repeat copies, so that layers that work in place leave x as it is
    return _run(links, x.repeat(samples, *(1 for _ in x.shape[1:])))


def _make_plan(network: nn.Module, images: Tensor, switch: Switch, memory_budget: int) -> _Plan:
    """Try the network on a few images to see what its samples share and how much memory a row takes."""
    links, active = chain(network), set(active_dropout(network))
    first = next(index for index, link in enumerate(links) if not active.isdisjoint(link.modules()))
    x, shared_bytes = _measure(links[:first], images)
    if not isinstance(x, Tensor) or len(x) != len(images):
        first, x = 0, images
    switch.select(range(1), range(len(images)))
    logits, sampled_bytes = _measure(links[first:], x)
    _check(logits, len(images), switch.calls)
    needed = _LIVE_TENSORS * max(shared_bytes, sampled_bytes)
    if needed > memory_budget:
        raise UserError(f"memory_budget={memory_budget} is too small: one image takes about {needed} bytes.")
    rows = memory_budget // (_LIVE_TENSORS * sampled_bytes)
    if images.device.type == "cpu":
        rows = min(rows, max(_FEWEST_ROWS, _CPU_ACTIVATION // sampled_bytes))
    return _Plan(links[:first], links[first:], min(memory_budget // needed, _MOST_IMAGES), rows)


def _check(logits: object, images: int, dropout_calls: int) -> None:
    if not dropout_calls:
        raise UserError("The network's forward pass uses none of its dropout layers: every sample would be the same.")
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != images:
        found = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else f"type {type(logits).__name__}"
        raise UserError(f"The network must return logits [N, C], but {images} images gave an output of {found}.")


def _run(modules: Sequence[nn.Module], x: Any) -> Any:
    for module in modules:
        x = module(x)
    return x


def _measure(modules: Sequence[nn.Module], x: Tensor) -> tuple[Any, int]:
    """The modules' output, and the bytes of the largest tensor a row passes through."""
    rows, largest = len(x), x.nbytes

    def note(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        outputs = output if isinstance(output, tuple) else (output,)
        largest = max([largest, *(tensor.nbytes for tensor in outputs if isinstance(tensor, Tensor))])

    hooks = [part.register_forward_hook(note) for module in modules for part in module.modules()]
    try:
        return _run(modules, x), -(-largest // rows)
    finally:
        for hook in hooks:
            hook.remove()


def _ranges(whole: range, size: int) -> Iterator[range]:
    for start in range(whole.start, whole.stop, size):
        yield range(start, min(start + size, whole.stop))

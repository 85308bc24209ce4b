"""Computes the logits of Monte Carlo samples in pieces. Shared parts of the network run once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lit_cifar.uncertainty.dropout import declared_stochastic, dropout_layers, masked_dropout
from lit_cifar.uncertainty.masks import Masks, SeededMasks
from lit_cifar.uncertainty.planning import MEMORY_BUDGET, Request, make_plan, run, seeded_noise
from lit_cifar.uncertainty.switch import Switch, is_dropout, takes_masks
from lit_cifar.utils.errors import UserError

_KEPT_BY_MALLOC = 31 * 2**20
"""Bytes just below the largest block that glibc's malloc keeps for the next call."""


@dataclass(frozen=True)
class Piece:
    """Logits [samples, images, C] of some samples of some images, with their indices among all of them."""

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
    indices: range | None = None,
    memory_budget: int = MEMORY_BUDGET,
    stochastic: Sequence[nn.Module] | None = None,
) -> Iterator[Iterator[Piece]]:
    """All samples of some images, then of the next images: `with sampled_logits(…) as pieces: for piece in pieces: …`.

    The arguments, and the errors raised, are those of `mc_predict`.
    """
    if samples < 1:
        raise UserError(f"samples={samples} gives no prediction: ask for at least 1.")
    if not len(images):
        raise UserError("There are no images to predict: give a tensor [N, ...] of at least one.")
    indices = range(len(images)) if indices is None else indices
    if len(indices) != len(images):
        raise UserError(f"indices={indices} has {len(indices)} indices, but there are {len(images)} images.")
    if isinstance(seed, torch.Generator):
        seed = int(torch.randint(2**62, (), generator=seed, device=seed.device))
    network = _eager(network)
    stochastic = declared_stochastic(network) if stochastic is None else stochastic
    with torch.no_grad(), masked_dropout(network, _masks(masks, seed), stochastic=stochastic) as switch:
        request = Request(network, images, samples, indices, seed, memory_budget, stochastic)
        yield _pieces(request, switch)


def _eager(network: nn.Module) -> nn.Module:
    """The network itself, or the one that `torch.compile` was given."""
    if not isinstance(network, nn.Module):
        raise UserError(
            f"mc_predict was given {type(network).__name__}, not a torch module: give the network itself, not one that "
            "was exported from it."
        )
    if isinstance(network, torch.jit.ScriptModule):
        raise UserError(
            "A scripted or traced network can't be sampled, because its dropout can't be decided from outside: give "
            "the network that it was made from."
        )
    if isinstance(network, torch.fx.GraphModule) and not dropout_layers(network):
        raise UserError(
            "A traced or exported graph has no dropout layers to switch on: give the network that it was made from."
        )
    original: nn.Module = getattr(network, "_orig_mod", network)
    return original


def _masks(masks: Masks | str, seed: int) -> Masks:
    if isinstance(masks, Masks):
        return masks
    if masks not in ("independent", "shared"):
        raise UserError(f"masks={masks!r} is not a choice: use 'independent', 'shared' or a Masks object.")
    return SeededMasks(seed, shared=masks == "shared")


def _pieces(request: Request, switch: Switch) -> Iterator[Piece]:
    # glibc returns freed memory to the system at once, unless a larger block has been freed before
    torch.empty(_KEPT_BY_MALLOC, dtype=torch.uint8)
    images, device = request.images, request.device
    plan = make_plan(request, switch)
    for block in _ranges(range(len(images)), plan.images):
        # a copy, because the first layer may work in place
        x = run(plan.shared, images[block.start : block.stop].to(device, copy=True))
        for part in _ranges(block, max(1, plan.rows // request.samples)):
            for some_samples in _ranges(range(request.samples), max(1, plan.rows // len(part))):
                some_images = request.indices[part.start : part.stop]
                switch.select(some_samples, some_images)
                some_x = x[part.start - block.start : part.stop - block.start]
                with plan.sampling, seeded_noise(request, some_samples, some_images):
                    logits = sample(plan.sampled, switch, some_x, len(some_samples))
                yield Piece(some_samples, part, logits.reshape(len(some_samples), len(part), -1))


def sample(links: Sequence[nn.Module], switch: Switch, x: Tensor, samples: int) -> Any:
    """Logits [samples * N, C] of images [N, ...]."""
    match links:
        case [dropout, nn.Linear() as linear, *others] if is_dropout(dropout) and takes_masks(linear, dropout, x):
            # pays if masked weights [samples, C, units] or [N, C, units] are smaller than activations
            if 2 * linear.out_features <= min(samples, len(x)):
                return run(others, switch.linear(linear, dropout, x))
    # repeat makes a copy, so layers that work in place don't change x
    return run(links, x.repeat(samples, *(1 for _ in x.shape[1:])))


def _ranges(whole: range, size: int) -> Iterator[range]:
    for start in range(whole.start, whole.stop, size):
        yield range(start, min(start + size, whole.stop))

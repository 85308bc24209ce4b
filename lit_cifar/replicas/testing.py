"""Predictions of many networks of equal shape at once, with one pass and with MC dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn, vmap
from torch.func import functional_call

from lit_cifar.evaluation import UNCERTAINTIES
from lit_cifar.uncertainty import Draw, Masks, SeededMasks, masked_dropout, sample_points
from lit_cifar.uncertainty.planning import MEMORY_BUDGET, Plan, Request, make_plan, run
from lit_cifar.uncertainty.prediction import Moments
from lit_cifar.uncertainty.sampling import sample
from lit_cifar.uncertainty.switch import Switch

ROWS = 8192
"""Number of images in a forward pass, summed over the networks."""


@dataclass(frozen=True)
class StackedStates:
    """Networks of equal shape: one of them as a module, and the stacked states of all.

    Args:
        network: The module, in evaluation mode.
        states: All parameters and buffers [R, ...] by name, on the module's device.
    """

    network: nn.Module
    states: Mapping[str, Tensor]

    @classmethod
    def of(cls, network: nn.Module, states: Sequence[Mapping[str, Tensor]]) -> StackedStates:
        """The networks with these states, which get the device and the types of the module's."""
        own = network.state_dict()
        stacked = {name: torch.stack([state[name] for state in states]).to(own[name]) for name in own}
        return cls(network, stacked)

    def __len__(self) -> int:
        return len(next(iter(self.states.values())))

    def call(self, function: Callable[..., Tensor], links: Sequence[nn.Module], *each: Any) -> Tensor:
        """Call `function(links, …)` for each network.

        Args:
            function: What to call.
            links: Modules of the network.
            each: Further arguments of each network: tensors [R, ...], or containers of them.
        """
        part = _Part(self.network, links)

        def of_one(state: Mapping[str, Tensor], *arguments: Any) -> Tensor:
            found: Tensor = functional_call(part, dict(state), (function, *arguments))
            return found

        states = {f"network.{name}": tensor for name, tensor in self.states.items()}
        found: Tensor = vmap(of_one)(states, *each)
        return found


@torch.no_grad()
def predict_stack(networks: StackedStates, images: Tensor) -> dict[str, Tensor]:
    """Predict with one pass, as `lit_cifar.evaluation.predict` does for a single network.

    Args:
        networks: The networks.
        images: uint8 [N, C, H, W], or those of each network [R, N, C, H, W], on their device.

    Returns:
        Class probabilities [R, N, classes] as `probabilities`.
    """
    batches = images.split(max(1, ROWS // len(networks)), dim=-4)
    found = [networks.call(run, [networks.network], _for_each(networks, batch)) for batch in batches]
    logits = torch.cat(found, 1)
    return {"probabilities": logits.softmax(2, dtype=torch.promote_types(logits.dtype, torch.float32))}


@torch.no_grad()
def predict_stack_by_mc(
    networks: StackedStates, images: Tensor, *, samples: int, seeds: Sequence[int]
) -> dict[str, Tensor]:
    """Predict with MC dropout, as `lit_cifar.evaluation.predict_by_mc` does for a single network.

    Args:
        networks: The networks, whose only stochastic modules are dropout layers.
        images: uint8 [N, C, H, W], or those of each network [R, N, C, H, W], on their device.
        samples: Number of forward passes with dropout left on.
        seeds: The seed of each network's dropout masks.

    Returns:
        The tensors of `predict_by_mc`, with the networks as their first dimension.
    """
    masks, points, count = _StackedMasks(seeds), sample_points(samples), images.shape[-4]
    with masked_dropout(networks.network, masks) as switch:
        of_first = images if images.dim() == 4 else images[0]
        request = Request(networks.network, of_first, samples, range(count), 0, MEMORY_BUDGET, ())
        plan = make_plan(request, switch)
        step = max(1, min(plan.images, plan.rows // len(networks)))
        blocks = []
        for start in range(0, count, step):
            block = range(start, min(start + step, count))
            moments = Moments(points, keep_samples=False)
            for logits in _samples(networks, plan, switch, masks, images, block, samples):
                moments.add(logits)
            fields = {name: tensor.unflatten(0, (len(networks), -1)) for name, tensor in moments.summary().items()}
            blocks.append(fields)
    names = {**{name: name for name in UNCERTAINTIES}, "mc_probabilities": "probabilities", "mc_after": "after"}
    return {name: torch.cat([block[field] for block in blocks], 1) for name, field in names.items()}


def _samples(
    networks: StackedStates,
    plan: Plan,
    switch: Switch,
    masks: _StackedMasks,
    images: Tensor,
    block: range,
    samples: int,
) -> Iterator[Tensor]:
    """Logits [S, R * N, classes] of a block of images, for a few samples at a time."""
    x = networks.call(run, plan.shared, _for_each(networks, images.narrow(-4, block.start, len(block))))
    at_once = max(1, plan.rows // (len(networks) * len(block)))
    for start in range(0, samples, at_once):
        some = range(start, min(start + at_once, samples))

        def sampled(links: Sequence[nn.Module], x: Tensor, given: Sequence[Tensor], some: range = some) -> Tensor:
            masks.given = given
            switch.select(some, block)
            found: Tensor = sample(links, switch, x, len(some))
            return found

        with plan.sampling:
            logits = networks.call(sampled, plan.sampled, x, masks.of(some, block))
        yield logits.unflatten(1, (len(some), len(block))).transpose(0, 1).flatten(1, 2)


class _StackedMasks(Masks):
    """The masks of `SeededMasks` for several seeds.

    While `given` is empty, requests are recorded in `draws`. The masks of one network are put into `given` for its
    forward pass.

    Args:
        seeds: The seed of each network.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.each = [SeededMasks(seed) for seed in seeds]
        self.draws: list[Draw] = []
        self.given: Sequence[Tensor] = ()

    def keep(self, draw: Draw) -> Tensor:
        if self.given:
            return self.given[draw.call]
        self.draws = [*self.draws[: draw.call], draw]
        return self.each[0].keep(draw)

    def of(self, samples: range, images: range) -> list[Tensor]:
        """The masks [R, S, N, ...] for each call of a dropout layer in a forward pass."""
        wanted = [replace(draw, samples=samples, images=images) for draw in self.draws]
        return [torch.stack([masks.keep(draw) for masks in self.each]) for draw in wanted]


class _Part(nn.Module):
    """Some modules of a network, as a module whose state has the network's names after `network.`."""

    def __init__(self, network: nn.Module, links: Sequence[nn.Module]) -> None:
        super().__init__()
        self.network = network
        self.links = tuple(links)

    def forward(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        return function(self.links, *arguments)


def _for_each(networks: StackedStates, images: Tensor) -> Tensor:
    return images.expand(len(networks), *images.shape[-4:])

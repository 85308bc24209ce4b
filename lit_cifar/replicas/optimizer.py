"""One optimizer for a whole stack: a parameter group for each learning rate, of slices of the stacked parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lit_cifar.replicas.network import NotStackableError, StackedNetwork
from lit_cifar.speed.fused_nadam import FusedNAdam

ELEMENTWISE = {
    *(optim.SGD, optim.ASGD, optim.Rprop, optim.RMSprop, optim.Adagrad, optim.Adadelta),
    *(optim.Adam, optim.AdamW, optim.Adamax, optim.NAdam, optim.RAdam, FusedNAdam),
}
"""Optimizers that step each weight by its own gradients alone, so that a stack's step is that of its networks."""


@dataclass
class RateGroup:
    """The replicas of one learning rate, which follow one another in the stack.

    Args:
        learning_rate: Their learning rate; for one-cycle, its peak.
        replicas: Their places in the stack.
        parameters: Their slices of the stacked parameters; without other groups, the stacked parameters themselves.
    """

    learning_rate: float
    replicas: range
    parameters: list[nn.Parameter]


class RateGroups:
    """The parameter groups of a stack, one for each learning rate.

    Slices share memory with the stacked parameters. `give_gradients` passes the gradients on to them.

    Args:
        network: The stack.
        learning_rates: Each replica's learning rate; equal ones must follow one another.
    """

    def __init__(self, network: StackedNetwork, learning_rates: Sequence[float]) -> None:
        self.stacked = list(network.parameters())
        self.groups = [RateGroup(rate, places, []) for rate, places in _places(learning_rates)]
        for group in self.groups:
            group.parameters = self.stacked if self.is_one else [nn.Parameter(p.detach()) for p in self.stacked]
            for p, whole in zip(group.parameters, self.stacked, strict=True):
                p.requires_grad_(whole.requires_grad)
        self.refresh()

    @property
    def is_one(self) -> bool:
        """Whether all replicas have the same learning rate."""
        return len(self.groups) == 1

    def refresh(self) -> None:
        """Let the slices point to where the stacked parameters are now."""
        for group, p, whole in self._slices():
            p.data = whole.data[_slice(group.replicas)]

    def drop_gradients(self) -> None:
        """Forget the stacked parameters' gradients, which the optimizer doesn't know."""
        for whole in self.stacked:
            whole.grad = None

    def give_gradients(self) -> None:
        """Pass the stacked parameters' gradients on to the slices."""
        for group, p, whole in self._slices():
            p.grad = None if whole.grad is None else whole.grad[_slice(group.replicas)]

    @torch.no_grad()
    def keep(self, replicas: Sequence[int], optimizer: Optimizer) -> None:
        """Drop all other replicas from the optimizer's state; call it after the network has dropped them.

        Args:
            replicas: The places of those that stay; each group must keep one.
            optimizer: The optimizer that was made with these groups.
        """
        start = 0
        for group in self.groups:
            own = [place - group.replicas.start for place in replicas if place in group.replicas]
            for p in group.parameters:
                p.grad = None
                state = optimizer.state.get(p, {})
                kept = {key: value[own] for key, value in state.items() if _is_of_each_replica(value, group)}
                state.update(kept)
            group.replicas = range(start, start + len(own))
            start += len(own)
        self.refresh()

    def _slices(self) -> Iterable[tuple[RateGroup, nn.Parameter, nn.Parameter]]:
        if not self.is_one:
            for group in self.groups:
                for p, whole in zip(group.parameters, self.stacked, strict=True):
                    yield group, p, whole


class StackedOptimizer:
    """An optimizer factory, as LitClassifier takes one, for a stack.

    Args:
        factory: The factory of a single run.
        network: The stack.
        learning_rates: Each replica's learning rate; equal ones must follow one another.
    """

    def __init__(
        self, factory: Callable[..., Optimizer], network: StackedNetwork, learning_rates: Sequence[float]
    ) -> None:
        self.factory = factory
        self.network = network
        self.learning_rates = learning_rates
        self.groups: RateGroups

    def __call__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> Optimizer:
        """Make the optimizer, when the parameters are on their device; what it is given is in the groups.

        Raises:
            NotStackableError: if it looks at more than single weights.
        """
        self.groups = RateGroups(self.network, self.learning_rates)
        given = [{"params": group.parameters, "lr": group.learning_rate} for group in self.groups.groups]
        optimizer = self.factory(given, learning_rate)
        check_elementwise(optimizer)
        return optimizer


def checked_scheduler(factory: Callable[[Optimizer], Any]) -> Callable[[Optimizer], Any]:
    """The scheduler factory of a single run, for a stack.

    Raises:
        NotStackableError: when called, if it makes a scheduler that follows one validation loss.
    """

    def make(optimizer: Optimizer) -> Any:
        scheduler = factory(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            raise NotStackableError("ReduceLROnPlateau follows one validation loss, and each replica has its own.")
        return scheduler

    return make


def check_elementwise(optimizer: Optimizer) -> None:
    """Make sure that an optimizer takes the step of each weight by itself.

    Raises:
        NotStackableError: if it isn't known to do so.
    """
    if type(optimizer) not in ELEMENTWISE:
        raise NotStackableError(
            f"the optimizer {type(optimizer).__name__} isn't known to treat every weight by itself, as Adam and SGD do."
        )


def _places(learning_rates: Sequence[float]) -> list[tuple[float, range]]:
    found: list[tuple[float, range]] = []
    for place, rate in enumerate(learning_rates):
        if found and found[-1][0] == rate:
            found[-1] = (rate, range(found[-1][1].start, place + 1))
        else:
            found.append((rate, range(place, place + 1)))
    return found


def _slice(places: range) -> slice:
    return slice(places.start, places.stop)


def _is_of_each_replica(value: object, group: RateGroup) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == len(group.replicas)

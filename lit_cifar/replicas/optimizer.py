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
"""Optimizers that update each weight by its own gradients only, so a stack can take the steps of all its networks."""


@dataclass
class RateGroup:
    """The replicas of one learning rate, which are neighbours in the stack.

    Args:
        learning_rate: Their learning rate; for one-cycle, its peak.
        replicas: Their places in the stack.
        parameters: Their slices of the stacked parameters, or if there are no other groups, the stacked parameters
            themselves.
    """

    learning_rate: float
    replicas: range
    parameters: list[nn.Parameter]


class RateGroups:
    """The parameter groups of a stack, one for each learning rate.

    Slices share memory with the stacked parameters. `give_gradients` passes the gradients on to them.

    Args:
        network: The stack.
        learning_rates: The learning rate of each replica; equal ones must be neighbours.
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
        """Make the slices share the present memory of the stacked parameters."""
        for group, p, whole in self._slices():
            p.data = whole.data[_slice(group.replicas)]

    def drop_gradients(self) -> None:
        """Remove the gradients of the stacked parameters, which the optimizer doesn't zero."""
        for whole in self.stacked:
            whole.grad = None

    def give_gradients(self) -> None:
        """Give the slices the gradients of the stacked parameters."""
        for group, p, whole in self._slices():
            p.grad = None if whole.grad is None else whole.grad[_slice(group.replicas)]

    @torch.no_grad()
    def keep(self, replicas: Sequence[int], optimizer: Optimizer) -> None:
        """Remove all other replicas from the optimizer's state. Call it after the network has removed them.

        Args:
            replicas: The places of the replicas that stay, at least one of each group.
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
    """The optimizer factory of a stack, as LitClassifier takes it.

    Args:
        factory: The optimizer factory of a single run.
        network: The stack.
        learning_rates: The learning rate of each replica; equal ones must be neighbours.
    """

    def __init__(
        self, factory: Callable[..., Optimizer], network: StackedNetwork, learning_rates: Sequence[float]
    ) -> None:
        self.factory = factory
        self.network = network
        self.learning_rates = learning_rates
        self.groups: RateGroups

    def __call__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> Optimizer:
        """Make the optimizer of the stack, whose parameters must be on their device by now.

        The parameters and rates that it steps are those of the groups, not the arguments.

        Raises:
            NotStackableError: If the optimizer isn't known to update every weight by itself.
        """
        self.groups = RateGroups(self.network, self.learning_rates)
        given = [{"params": group.parameters, "lr": group.learning_rate} for group in self.groups.groups]
        optimizer = self.factory(given, learning_rate)
        check_elementwise(optimizer)
        return optimizer


def checked_scheduler(factory: Callable[[Optimizer], Any]) -> Callable[[Optimizer], Any]:
    """The scheduler factory of a stack, from that of a single run.

    Raises:
        NotStackableError: When it is called, if the scheduler follows a validation loss.
    """

    def make(optimizer: Optimizer) -> Any:
        scheduler = factory(optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            raise NotStackableError("ReduceLROnPlateau follows one validation loss, and each replica has its own.")
        return scheduler

    return make


def check_elementwise(optimizer: Optimizer) -> None:
    """Check that an optimizer updates each weight by its own gradients only.

    Raises:
        NotStackableError: If it isn't known to do so.
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

"""NAdam as torch computes it, in two passes over memory instead of a dozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, optim

from lit_cifar.speed.memory import arrange, joined, runs_of

KERNELS_OF = ("cpu", "cuda")
"""Kinds of devices on which Adam's fused kernel is used."""
_NEEDS_PLAIN = ("weight_decay", "maximize", "capturable", "differentiable")
"""Options under which torch's own steps are taken."""


class _Tensors(NamedTuple):
    """Parameters and the two averages of their gradients that the kernel keeps."""

    parameters: list[Tensor]
    momenta: list[Tensor]
    squares: list[Tensor]


@dataclass(frozen=True)
class _Together:
    """Parameters that the kernel takes at once, and their state; what torch keeps as a number for each is one tensor
    of which each has its element, on the CPU. The kernel reads the step where the parameters are.

    Those that follow one another in memory are a run: `by_runs` has one tensor for them all.
    """

    singly: _Tensors
    by_runs: _Tensors
    runs: list[list[int]]
    addresses: list[int]
    step: Tensor
    mu_product: Tensor
    kernels_step: Tensor

    def are(self, parameters: Sequence[Tensor]) -> bool:
        """Whether it is these, and where they were."""
        found = self.singly.parameters
        if len(parameters) != len(found) or not all(map(is_, parameters, found)):
            return False
        return [p.data_ptr() for p in parameters] == self.addresses

    def with_gradients(self) -> tuple[_Tensors, list[Tensor]]:
        """The fewest tensors: by runs, unless the gradients lie in another order."""
        gradients = [p.grad for p in self.singly.parameters if p.grad is not None]
        by_runs = [joined([gradients[number] for number in run]) for run in self.runs]
        found = [gradient for gradient in by_runs if gradient is not None]
        return (self.by_runs, found) if len(found) == len(by_runs) else (self.singly, gradients)


class FusedNAdam(optim.NAdam):
    """torch.optim.NAdam (Dozat 2016) with the same arguments, state and, but for rounding, the same steps.

    torch has a fused kernel for Adam, not for NAdam, whose step moves by c₁·gradient + c₂·momentum in place of Adam's
    momentum. That sum is a momentum too, but for a factor c₁ + c₂: the last one decayed by β₁·c₂ / (c₁ + c₂) instead of
    β₁. So Adam's kernel does the step, and NAdam's momentum is read back from what the kernel left. On accelerators
    other than CUDA's torch's own steps are taken.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:  # called when a state is loaded, too
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.__dict__.pop("_together", None)

    @overload
    def step(self, closure: None = ...) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step; the closure computes loss and gradients anew."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gathered = [self._gather(number, group) for number, group in enumerate(self.param_groups)]
        if all(gathered):
            for group, together in zip(self.param_groups, filter(None, gathered), strict=True):
                _step(group, together)
        else:
            super().step()
        return loss

    def _gather(self, number: int, group: dict[str, Any]) -> _Together | None:
        """A group's parameters that have gradients, if the kernel can take them at once: plain options, real numbers of
        one kind on one device, as many steps each."""
        if any(group[option] for option in _NEEDS_PLAIN) or not group["betas"][0] > 0:
            return None
        found: dict[int, _Together] = self.__dict__.setdefault("_together", {})
        parameters = [p for p in group["params"] if p.grad is not None]
        if number in found and found[number].are(parameters):
            return found[number]
        kinds = {(p.device, p.dtype) for p in parameters}
        if len(kinds) != 1:
            return None
        [(device, dtype)] = kinds
        if device.type not in KERNELS_OF or not dtype.is_floating_point:
            return None
        lists: tuple[list[Tensor], ...] = ([], [], [], [], [], [])
        self._init_group(group, *lists)  # type: ignore[no-untyped-call]
        _, _, momenta, squares, mu_products, steps = lists
        if len({step.item() for step in steps}) != 1:
            return None
        step, mu_product = torch.stack(steps).cpu(), torch.stack(mu_products).cpu()  # loaded ones are elsewhere
        for p, own_step, own_product in zip(parameters, step, mu_product, strict=True):
            self.state[p] |= {"step": own_step, "mu_product": own_product}
        kernels_step = step[0].to(device, copy=True)
        addresses = [p.data_ptr() for p in parameters]
        runs = runs_of(parameters)
        singly = _Tensors(parameters, momenta, squares)
        by_runs = _Tensors(*(arrange(tensors, runs) for tensors in singly))
        found[number] = _Together(singly, by_runs, runs, addresses, step, mu_product, kernels_step)
        return found[number]


def _step(group: dict[str, Any], together: _Together) -> None:
    lr, (beta1, beta2), decay = group["lr"], group["betas"], group["momentum_decay"]
    together.step.add_(1)
    step = together.step[0].item()
    mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
    together.mu_product.mul_(mu)
    mu_product = together.mu_product[0].item()
    on_gradient = (1 - mu) / (1 - mu_product)
    on_momentum = mu_next / (1 - mu_product * mu_next)
    decay_of_sum = beta1 * on_momentum / (on_gradient + on_momentum)
    tensors, gradients = together.with_gradients()
    torch._fused_adam_(
        tensors.parameters,
        gradients,
        tensors.momenta,
        tensors.squares,
        [],
        [together.kernels_step.fill_(step)] * len(gradients),
        lr=lr * (on_gradient + on_momentum) * (1 - decay_of_sum**step),  # Adam's own bias correction undone
        beta1=decay_of_sum,
        beta2=beta2,
        weight_decay=0.0,
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )
    torch._foreach_lerp_(tensors.momenta, gradients, -on_gradient / on_momentum)  # the gradient's share goes

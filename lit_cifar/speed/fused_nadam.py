"""NAdam as torch computes it, in two passes over memory instead of twelve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, optim

from lit_cifar.speed.memory import arrange, contiguous_groups, joined
from lit_cifar.utils.private import private

KERNELS_OF = ("cpu", "cuda")
"""Types of devices on which Adam's fused kernel is used."""
_NEEDS_PLAIN = ("weight_decay", "maximize", "capturable", "differentiable")
"""Options with which torch's own step is used."""


class _Tensors(NamedTuple):
    """Parameters and the two averages of their gradients that the kernel keeps."""

    parameters: list[Tensor]
    momenta: list[Tensor]
    squares: list[Tensor]


@dataclass(frozen=True)
class _Together:
    """Parameters that one call of the kernel updates, and their state.

    Args:
        single: One tensor per parameter.
        grouped: One tensor per group of parameters that are neighbours in memory.
        groups: The parameters' indices in each group.
        addresses: Where the parameters are; if they move, all this is out of date.
        step: The step of each parameter, on the CPU; torch keeps each element as a tensor of its own.
        mu_product: The same for the product of the momentum's decay.
        kernel_step: The step as the kernel reads it, on the parameters' device.
    """

    single: _Tensors
    grouped: _Tensors
    groups: list[list[int]]
    addresses: list[int]
    step: Tensor
    mu_product: Tensor
    kernel_step: Tensor

    def are(self, parameters: Sequence[Tensor]) -> bool:
        """Whether these are the parameters, and haven't moved."""
        found = self.single.parameters
        if len(parameters) != len(found) or not all(map(is_, parameters, found)):
            return False
        return [p.data_ptr() for p in parameters] == self.addresses

    def with_gradients(self) -> tuple[_Tensors, list[Tensor]]:
        """Tensors and their gradients: grouped, unless the gradients aren't neighbours in memory."""
        gradients = [p.grad for p in self.single.parameters if p.grad is not None]
        grouped = [joined([gradients[index] for index in group]) for group in self.groups]
        found = [gradient for gradient in grouped if gradient is not None]
        return (self.grouped, found) if len(found) == len(grouped) else (self.single, gradients)


class FusedNAdam(optim.NAdam):
    """torch.optim.NAdam (Dozat 2016) with the same arguments, the same state and, but for rounding, the same steps.

    torch has a fused kernel for Adam, not for NAdam, whose step is c₁·gradient + c₂·momentum where Adam's is the
    momentum. Up to the factor c₁ + c₂ that sum is a momentum as well, whose last value decays by β₁·c₂ / (c₁ + c₂)
    instead of β₁. So Adam's kernel takes the step, and NAdam's momentum is computed from what the kernel leaves. Other
    devices than CPUs and CUDA GPUs, and versions of torch without the kernel, use torch's own step.
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
        kernels = _kernels()
        gathered = [kernels and self._gather(index, group) for index, group in enumerate(self.param_groups)]
        if kernels and all(gathered):
            for group, together in zip(self.param_groups, filter(None, gathered), strict=True):
                _step(group, together, *kernels)
        else:
            _without_hooks(optim.NAdam.step)(self)
        return loss

    def _gather(self, number: int, group: dict[str, Any]) -> _Together | None:
        """A group's parameters that have gradients, if one call of the kernel can update them: default options, one
        floating-point type, one device, the same number of steps."""
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
        step = torch.stack(steps).cpu()  # loaded ones are on another device
        mu_product = torch.stack(mu_products).to(step)  # and loaded products have the parameters' type
        for p, own_step, own_product in zip(parameters, step, mu_product, strict=True):
            self.state[p] |= {"step": own_step, "mu_product": own_product}
        kernel_step = step[0].to(device, copy=True)
        addresses = [p.data_ptr() for p in parameters]
        groups = contiguous_groups(parameters)
        single = _Tensors(parameters, momenta, squares)
        grouped = _Tensors(*(arrange(tensors, groups) for tensors in single))
        found[number] = _Together(single, grouped, groups, addresses, step, mu_product, kernel_step)
        return found[number]


def _without_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """A class's step without its call of step hooks, which torch adds once an optimizer of the class itself exists.

    A subclass whose step calls them, too, would otherwise call them twice.
    """
    return getattr(step, "__wrapped__", step) if getattr(step, "hooked", False) else step


Kernel = Callable[..., Any]


def _kernels() -> tuple[Kernel, Kernel] | None:
    """The two kernels of torch that a step needs; None where torch has none of that name."""
    without = "NAdam takes torch's own steps, which are slower"
    fused_adam, lerp = private("torch:_fused_adam_", without), private("torch:_foreach_lerp_", without)
    state = private("torch.optim:NAdam._init_group", without)
    return (fused_adam, lerp) if fused_adam and lerp and state else None


def _step(group: dict[str, Any], together: _Together, fused_adam: Kernel, foreach_lerp: Kernel) -> None:
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
    fused_adam(
        tensors.parameters,
        gradients,
        tensors.momenta,
        tensors.squares,
        [],
        [together.kernel_step.fill_(step)] * len(gradients),
        lr=lr * (on_gradient + on_momentum) * (1 - decay_of_sum**step),  # Adam's own bias correction undone
        beta1=decay_of_sum,
        beta2=beta2,
        weight_decay=0.0,
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )
    # The rest is NAdam's momentum: the sum without the gradient's share.
    foreach_lerp(tensors.momenta, gradients, -on_gradient / on_momentum)

"""NAdam as torch computes it, in two passes over memory instead of a dozen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor, optim
from torch.optim.adam import adam

_NEEDS_PLAIN = ("weight_decay", "maximize", "capturable", "differentiable")
"""Options under which torch's own steps are taken."""


class FusedNAdam(optim.NAdam):
    """torch.optim.NAdam (Dozat 2016) with the same arguments, state and, but for rounding, the same steps.

    torch has a fused kernel for Adam, not for NAdam, whose step moves by c₁·gradient + c₂·momentum in place of Adam's
    momentum. That sum is a momentum too, but for a factor c₁ + c₂: the last one decayed by β₁·c₂ / (c₁ + c₂) instead of
    β₁. So Adam's kernel does the step, and NAdam's momentum is read back from what the kernel left. On accelerators
    torch's own steps are taken.
    """

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
        if all(self._is_fusable(group) for group in self.param_groups):
            for group in self.param_groups:
                self._step_group(group)
        else:
            super().step()
        return loss

    def _is_fusable(self, group: dict[str, Any]) -> bool:
        """Whether the kernel can take the group at once: plain options, real numbers on the CPU, as many steps each."""
        trained = [p for p in group["params"] if p.grad is not None]
        return (
            not any(group[option] for option in _NEEDS_PLAIN)
            and group["betas"][0] > 0
            and all(p.device.type == "cpu" and p.is_floating_point() for p in trained)
            and len({float(self.state[p].get("step", 0)) for p in trained}) == 1
        )

    def _step_group(self, group: dict[str, Any]) -> None:
        found: tuple[list[Tensor], ...] = ([], [], [], [], [], [])
        self._init_group(group, *found)  # type: ignore[no-untyped-call]
        parameters, gradients, momenta, squares, mu_products, steps = found
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["momentum_decay"]
        step = steps[0].item() + 1
        mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
        torch._foreach_mul_(mu_products, mu)
        mu_product = mu_products[0].item()
        on_gradient = (1 - mu) / (1 - mu_product)
        on_momentum = mu_next / (1 - mu_product * mu_next)
        decay_of_sum = beta1 * on_momentum / (on_gradient + on_momentum)
        adam(
            parameters,
            gradients,
            momenta,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=decay_of_sum,
            beta2=beta2,
            lr=lr * (on_gradient + on_momentum) * (1 - decay_of_sum**step),  # Adam's own bias correction undone
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
        torch._foreach_lerp_(momenta, gradients, -on_gradient / on_momentum)  # the gradient's share goes

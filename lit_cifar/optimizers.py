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
    momentum. That sum is a momentum too: one that starts from NAdam's and decays by c₂ / (c₁ + c₂). So Adam's kernel
    does the step, on a copy of the momentum that is thrown away.
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
        if not all(self._is_fusable(group) for group in self.param_groups):
            super().step()
            return loss
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step_one(p, group)
        return loss

    @staticmethod
    def _is_fusable(group: dict[str, Any]) -> bool:
        devices = {p.device.type for p in group["params"]}
        plain = any(group[option] for option in _NEEDS_PLAIN)
        return not plain and devices <= {"cpu", "cuda"} and all(p.is_floating_point() for p in group["params"])

    def _momentum_copy(self, momentum: Tensor) -> Tensor:
        """A copy in a buffer that is kept: fresh memory every step would cost as much as the step."""
        scratch: Tensor | None = self.__dict__.get("_scratch")
        if scratch is None or scratch.numel() < momentum.numel() or scratch.device != momentum.device:
            self._scratch = scratch = torch.empty_like(momentum).flatten()
        return scratch[: momentum.numel()].view_as(momentum).copy_(momentum)

    def _step_one(self, p: Tensor, group: dict[str, Any]) -> None:
        self._init_group({**group, "params": [p]}, [], [], [], [], [], [])  # type: ignore[no-untyped-call]
        state = self.state[p]
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["momentum_decay"]
        step = state["step"].item() + 1
        mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in (step, step + 1))
        state["mu_product"] *= mu
        mu_product = state["mu_product"].item()
        on_gradient = lr * (1 - mu) / (1 - mu_product)
        on_momentum = lr * mu_next / (1 - mu_product * mu_next)
        state["exp_avg"].lerp_(p.grad, 1 - beta1)
        mixed = on_momentum / (on_gradient + on_momentum)
        adam(
            [p],
            [p.grad],  # type: ignore[list-item]
            [self._momentum_copy(state["exp_avg"])],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            fused=True,
            amsgrad=False,
            beta1=mixed,
            beta2=beta2,
            lr=(on_gradient + on_momentum) * (1 - mixed**step),  # Adam's own bias correction undone
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )

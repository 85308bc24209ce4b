"""Muon for the weight matrices of a network, AdamW for its other parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """torch's Muon for weight matrices, the only parameters it can train, and torch's AdamW for all others.

    Muon: Jordan et al. 2024, kellerjordan.github.io/posts/muon. AdamW trains biases, normalization and the kernels of
    convolutions.

    Muon's steps are scaled to the size of AdamW's (Liu et al. 2025, arXiv:2502.16982, section 2.2), so that one
    learning rate serves both.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate of both.
        weight_decay: Weight decay of both.
        momentum: Muon's momentum.
        betas: AdamW's decay rates of gradients and of squared gradients.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        groups = list(_groups(params))
        matrices, others = (list(_only(groups, matrix)) for matrix in (True, False))
        muon_options = {"momentum": momentum, "adjust_lr_fn": "match_rms_adamw"}
        # torch's optimizers refuse an empty list of parameters.
        self._muon = Muon(matrices, lr, weight_decay, **muon_options) if matrices else None  # type: ignore[arg-type]
        self._adamw = AdamW(others, lr, betas, weight_decay=weight_decay) if others else None
        both = [group for part in self._parts() for group in part.param_groups]
        super().__init__(both, {"lr": lr})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:  # called when a state is loaded, too
        super().__setstate__(state)
        self._share()

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
        for part in self._parts():
            part.step()
        return loss

    def _parts(self) -> list[Optimizer]:
        return [part for part in (self._muon, self._adamw) if part is not None]

    def _share(self) -> None:
        """Let both optimizers use this one's groups, whose learning rates schedulers change, and its state."""
        start = 0
        for part in self._parts():
            stop = start + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start:stop], self.state
            start = stop


def _groups(params: Iterable[Any]) -> Iterator[dict[str, Any]]:
    given = list(params)
    yield from given if given and isinstance(given[0], dict) else [{"params": given}]


def _only(groups: Iterable[dict[str, Any]], matrix: bool) -> Iterator[dict[str, Any]]:
    """The groups with only those parameters that are weight matrices, or only the others."""
    for group in groups:
        chosen = [p for p in group["params"] if (p.dim() == 2) is matrix]
        if chosen:
            yield {**group, "params": chosen}

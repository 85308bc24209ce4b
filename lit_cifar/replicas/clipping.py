"""Gradient clipping in a stack, by the norm of each replica's gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from lit_cifar.replicas.network import NotStackableError

STACKABLE_OPTIONS = {"precision", "accelerator", "devices", "gradient_clip_val", "gradient_clip_algorithm"}
"""Options of the Trainer that work for a stack as for a single run."""


SCALED_PRECISIONS = ("16-mixed", "16", 16)
"""Precisions in which Lightning scales the loss, and skips steps whose gradients aren't finite."""


class ClipEachReplica(Callback):
    """Scale each replica's gradients down to a norm, as `torch.nn.utils.clip_grad_norm_` does for one network.

    Args:
        max_norm: The largest norm of a replica's gradients, over all of its parameters.
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        gradients = [p.grad for p in pl_module.network.parameters() if p.grad is not None]  # type: ignore[union-attr]
        norms = torch.stack([gradient.reshape(len(gradient), -1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        scales = (self.max_norm / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scales.view(-1, *[1] * (gradient.dim() - 1)))


def clipping(options: Mapping[str, Any]) -> tuple[list[Callback], dict[str, Any]]:
    """A callback for clipping by norm, if that is among the options, and the options that remain for the Trainer.

    Raises:
        NotStackableError: If an option isn't known to work for a stack.
    """
    if unknown := sorted(options.keys() - STACKABLE_OPTIONS):
        raise NotStackableError(f"the Trainer's option {unknown[0]} isn't known to work for a stack.")
    if options.get("precision") in SCALED_PRECISIONS:
        raise NotStackableError("16-mixed precision scales all losses by one factor, which one network would spoil.")
    by_norm = options.get("gradient_clip_algorithm") in (None, "norm")
    largest = options.get("gradient_clip_val")
    if not (by_norm and largest):
        return [], dict(options)
    rest = {name: value for name, value in options.items() if not name.startswith("gradient_clip")}
    return [ClipEachReplica(largest)], rest

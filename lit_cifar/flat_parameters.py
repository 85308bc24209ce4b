"""Parameters in one buffer, so that an optimizer makes a few long passes instead of a loop over many small tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn, optim
from torch.optim import Optimizer

from lit_cifar.optimizers import FusedNAdam

PIECE_SIZE = 2**17
"""Elements of a piece: its values, gradients and optimizer state stay in a processor's cache from one pass to the next.
The 20×100 net is four pieces in place of 42 tensors."""

ELEMENTWISE = (
    *(
        optim.Adadelta,
        optim.Adagrad,
        optim.Adam,
        optim.AdamW,
        optim.Adamax,
        optim.ASGD,
        optim.NAdam,
        FusedNAdam,
        optim.RAdam,
    ),
    *(optim.RMSprop, optim.Rprop, optim.SGD),
)
"""Optimizers that treat every number by itself: they can't tell how the numbers are cut into tensors."""


class FlatParameters:
    """Moves parameters and their gradients into one buffer each; `pieces` are what an optimizer gets.

    The parameters stay what they are, with views of the buffer as their data: forward, backward, checkpoints and
    `load_state_dict` notice nothing. Gradients must be zeroed in place, by `zero_grad`.

    Args:
        parameters: Floating-point parameters of one type on one device (see `can_flatten`).
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        values = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self.gradients = torch.zeros_like(values)
        sizes = [p.numel() for p in self.parameters]
        for p, window in zip(self.parameters, values.split(sizes), strict=True):
            p.data = window.view_as(p)
        self._views = [
            window.view_as(p) for p, window in zip(self.parameters, self.gradients.split(sizes), strict=True)
        ]
        self.zero_grad()
        self.pieces = [nn.Parameter(piece) for piece in values.split(PIECE_SIZE)]
        for piece, gradient in zip(self.pieces, self.gradients.split(PIECE_SIZE), strict=True):
            piece.grad = gradient

    def zero_grad(self) -> None:
        """Set all gradients to zero, in place; those that others have set to None come back into the buffer."""
        self.gradients.zero_()
        for p, view in zip(self.parameters, self._views, strict=True):
            if p.grad is not view:
                p.grad = view


def can_flatten(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether the parameters are all of one floating-point type, on one device, and trained."""
    kinds = {(p.dtype, p.device, p.requires_grad) for p in parameters}
    return len(kinds) == 1 and all(dtype.is_floating_point and trained for dtype, _, trained in kinds)


def is_elementwise(optimizer: Optimizer) -> bool:
    """Whether an optimizer may get pieces of the buffer in place of the parameters."""
    return type(optimizer) in ELEMENTWISE

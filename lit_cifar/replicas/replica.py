"""One replica of a stack: what it is, and how its training has gone so far."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from lit_cifar.callbacks.non_finite_loss import NonFiniteLossError, divergence_message


@dataclass(frozen=True)
class Replica:
    """One training in a stack.

    Args:
        label: Its name in messages.
        seed: Decides the first weights, the split and the order of the images.
        learning_rate: Learning rate; for one-cycle, its peak.
    """

    label: str
    seed: int
    learning_rate: float


@dataclass
class Training:
    """A replica's training so far, with early stopping and best epochs as Lightning's callbacks decide them.

    Args:
        patience: Epochs without a lower validation loss after which it stops.
        epochs: The logged values of each epoch, by name.
        lowest_loss: The lowest validation loss so far.
        highest_accuracy: The highest validation accuracy so far.
        waited: Epochs since the lowest validation loss.
        stopped: Whether its training has ended.
        failure: Why it has failed; empty if it hasn't.
    """

    patience: int
    epochs: list[dict[str, float]] = field(default_factory=list)
    lowest_loss: float = math.inf
    highest_accuracy: float = -math.inf
    waited: int = 0
    stopped: bool = False
    failure: str = ""

    def judge(self, val_loss: float, val_accuracy: float) -> tuple[bool, bool]:
        """Record a validation. Returns whether its loss, and whether its accuracy, is the best so far."""
        first = not self.epochs
        lower, higher = val_loss < self.lowest_loss, val_accuracy > self.highest_accuracy
        self.waited = 0 if lower else self.waited + 1
        self.lowest_loss = val_loss if lower else self.lowest_loss  # not min(), which returns NaN in some orders
        self.highest_accuracy = val_accuracy if higher else self.highest_accuracy
        self.stopped = self.waited >= self.patience
        if not math.isfinite(val_loss):
            self.diverge(val_loss, len(self.epochs))
        return first or lower, first or higher

    def diverge(self, loss: float, epoch: int, batch: int | None = None) -> None:
        """End the training because of a loss that isn't finite: of a batch, or without one of a validation."""
        self.fail(f"{NonFiniteLossError.__name__}: {divergence_message(loss, epoch, batch)}")

    def fail(self, reason: str) -> None:
        """End the training, and say why it has failed."""
        self.stopped, self.failure = True, reason

    def to_dict(self) -> dict[str, Any]:
        """The training as plain data, for a checkpoint."""
        return asdict(self)

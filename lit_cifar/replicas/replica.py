"""The state of one replica: its run, its training so far, and whether it continues."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Replica:
    """One training in a stack.

    Args:
        label: What people see.
        seed: Decides the first weights, the split and the order of the images.
        learning_rate: Learning rate; for one-cycle, its peak.
    """

    label: str
    seed: int
    learning_rate: float


@dataclass
class Training:
    """How a replica's training went so far: early stopping and best epochs as Lightning's callbacks decide them.

    Args:
        patience: Epochs without a lower validation loss after which it stops.
        epochs: What was logged of each epoch, by name.
        lowest_loss: The lowest validation loss so far.
        highest_accuracy: The highest validation accuracy so far.
        waited: Epochs since the lowest validation loss.
        stopped: Whether its training is over.
        failure: Why it failed, if it did.
    """

    patience: int
    epochs: list[dict[str, float]] = field(default_factory=list)
    lowest_loss: float = math.inf
    highest_accuracy: float = -math.inf
    waited: int = 0
    stopped: bool = False
    failure: str = ""

    def judge(self, val_loss: float, val_accuracy: float) -> tuple[bool, bool]:
        """Take note of a validation; return whether its loss and its accuracy are the best so far."""
        first = not self.epochs
        lower, higher = val_loss < self.lowest_loss, val_accuracy > self.highest_accuracy
        self.waited = 0 if lower else self.waited + 1
        self.lowest_loss, self.highest_accuracy = _best(val_loss, val_accuracy, self)
        self.stopped = not math.isfinite(val_loss) or self.waited >= self.patience
        return first or lower, first or higher

    def fail(self, reason: str) -> None:
        """End the training as a failed one."""
        self.stopped, self.failure = True, reason

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for a checkpoint."""
        return asdict(self)


def _best(val_loss: float, val_accuracy: float, so_far: Training) -> tuple[float, float]:
    lowest = val_loss if val_loss < so_far.lowest_loss else so_far.lowest_loss
    highest = val_accuracy if val_accuracy > so_far.highest_accuracy else so_far.highest_accuracy
    return lowest, highest

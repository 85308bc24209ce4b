"""Metrics of an epoch: sums are kept on the device, added up over processes, and read once."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lit_cifar.uncertainty import evaluate


def totals(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """What a batch adds to an epoch's sums, [3]: loss, right answers, images; of mean loss, logits [B, classes] and
    labels [B]."""
    batch_size = len(labels)
    correct = (logits.argmax(1) == labels).sum()
    return torch.stack([loss * batch_size, correct, torch.full_like(correct, batch_size)])


class LossAndAccuracy(Metric):
    """Mean loss and accuracy over an epoch; for a stack of R replicas, those of each [R]."""

    totals: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(3), dist_reduce_fx="sum")

    def update(self, batch_totals: Tensor) -> None:
        """Add a batch's totals, [3] or [R, 3]."""
        self.totals = self.totals + batch_totals  # not in place: the sums of a stack are [R, 3]

    def compute(self) -> dict[str, Tensor]:
        # Read once: what is logged is shown and compared many times.
        loss, correct, count = self.totals.cpu().unbind(-1)
        return {"loss": loss / count, "accuracy": correct / count}


class ProbabilityScores(Metric):
    """The scores of class probabilities: accuracy, nll, brier, ece and aurc."""

    probabilities: list[Tensor]
    labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add a batch: probabilities [B, classes] and labels [B]."""
        self.probabilities.append(probabilities)
        self.labels.append(labels)

    def compute(self) -> dict[str, float]:
        return evaluate(dim_zero_cat(self.probabilities), dim_zero_cat(self.labels))

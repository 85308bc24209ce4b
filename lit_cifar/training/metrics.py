"""Metrics of an epoch: sums are kept on the device, added up over processes, and read once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lit_cifar.uncertainty import evaluate


def totals(loss: Tensor, logits: Tensor, labels: Tensor, terms: Sequence[Tensor] = ()) -> Tensor:
    """The contribution of a batch to an epoch's sums, [3 + terms]: loss, correct predictions, images and loss terms.

    Args:
        loss: Mean loss of the batch.
        logits: Logits [B, classes].
        labels: Labels [B], or class probabilities [B, classes], of which the most probable class counts.
        terms: Means of the loss's named terms.
    """
    batch_size = len(labels)
    correct = (logits.argmax(1) == (labels.argmax(1) if labels.dim() == 2 else labels)).sum()
    sums = [loss * batch_size, correct, torch.full_like(correct, batch_size)]
    return torch.stack([*sums, *(term * batch_size for term in terms)])


class LossAndAccuracy(Metric):
    """Mean loss and accuracy over an epoch; for a stack of R replicas, those of each [R]."""

    totals: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.terms: Sequence[str] = ()
        """Names of the loss's terms; each is `loss_` and its name in what is computed."""
        self.add_state("totals", torch.zeros(3), dist_reduce_fx="sum")

    def name_terms(self, names: Sequence[str]) -> None:
        """Expect batches with these terms from now on."""
        self.terms = names
        self.add_state("totals", torch.zeros(3 + len(names), device=self.totals.device), dist_reduce_fx="sum")
        self.reset()

    def update(self, batch_totals: Tensor) -> None:
        """Add a batch's totals, [3 + terms] or [R, 3 + terms]."""
        self.totals = self.totals + batch_totals  # not in place: a stack's sums have one more dimension

    def compute(self) -> dict[str, Tensor]:
        # Read once: what is logged is shown and compared many times.
        loss, correct, count, *terms = self.totals.cpu().unbind(-1)
        named = {f"loss_{name}": term / count for name, term in zip(self.terms, terms, strict=True)}
        return {"loss": loss / count, "accuracy": correct / count, **named}


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

"""Scores of class probabilities: accuracy, proper scores, calibration, and selective prediction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.stats import mannwhitneyu
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lit_cifar.utils.errors import UserError


def evaluate(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """The scores of probabilities [N, C] for labels [N]: accuracy, nll, brier, ece and aurc."""
    probabilities, labels = _checked(probabilities, labels)
    return {
        "accuracy": accuracy(probabilities, labels),
        "nll": nll(probabilities, labels),
        "brier": brier(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
        "aurc": aurc(probabilities, labels),
    }


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Share of images whose most probable class is the right one."""
    probabilities, labels = _checked(probabilities, labels)
    return _correct(probabilities, labels).mean().item()


def nll(probabilities: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood in nats; a probability of 0 counts as the smallest normal number."""
    probabilities, labels = _checked(probabilities, labels)
    floor = torch.finfo(probabilities.dtype).tiny
    return F.nll_loss(probabilities.clamp_min(floor).double().log(), labels).item()


def brier(probabilities: Tensor, labels: Tensor) -> float:
    """Mean squared distance between probabilities and truth, summed over classes: from 0 to 2 (Brier 1950)."""
    probabilities, labels = _checked(probabilities, labels)
    truth = F.one_hot(labels, probabilities.shape[1])
    return (probabilities.double() - truth).square().sum(1).mean().item()


@dataclass(frozen=True, eq=False)
class Reliability:
    """Images binned by confidence, for a reliability diagram; all [B].

    Args:
        upper: Each bin's upper edge; an image on an edge belongs to the bin below it.
        count: Number of images.
        confidence: Their mean confidence, nan in an empty bin.
        accuracy: Their accuracy, nan in an empty bin.
    """

    upper: Tensor
    count: Tensor
    confidence: Tensor
    accuracy: Tensor


def reliability(probabilities: Tensor, labels: Tensor, *, bins: int = 15) -> Reliability:
    """Bin images by confidence, in bins of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    if bins < 1:
        raise UserError(f"bins={bins} is too few: use at least 1.")
    probabilities, labels = _checked(probabilities, labels)
    confidence = probabilities.amax(1)
    upper = (torch.arange(1, bins + 1, dtype=torch.float64) / bins).to(confidence.dtype)
    index = torch.bucketize(confidence, upper[:-1])
    count = torch.bincount(index, minlength=bins)
    return Reliability(
        upper,
        count,
        torch.bincount(index, confidence.double(), minlength=bins) / count,
        torch.bincount(index, _correct(probabilities, labels), minlength=bins) / count,
    )


def expected_calibration_error(probabilities: Tensor, labels: Tensor, *, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy, over bins of equal width weighted by their images.

    Guo et al. 2017, arXiv:1706.04599. Unlike in torchmetrics (#3510), a confidence of 1 belongs to the last bin.
    """
    binned = reliability(probabilities, labels, bins=bins)
    gap = (binned.confidence - binned.accuracy).abs() * binned.count
    return gap[binned.count > 0].sum().item() / len(labels)


def risk_coverage(probabilities: Tensor, labels: Tensor, *, uncertainty: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Coverage [N] and risk [N]: the error rate among the k most certain images, for k from 1 to N.

    Images with equal uncertainty count with their mean error, so the order of the images doesn't matter. Risk times
    coverage is the error-retention curve. Geifman, Uziel and El-Yaniv 2019, arXiv:1805.08206.

    Args:
        probabilities: Class probabilities [N, C].
        labels: The right classes [N].
        uncertainty: Ranks the images [N], the most uncertain highest. Default: minus the confidence.

    Raises:
        UserError: If an uncertainty is NaN, or shapes or types don't fit.
    """
    probabilities, labels = _checked(probabilities, labels)
    error = 1 - _correct(probabilities, labels)
    ranking = -probabilities.amax(1) if uncertainty is None else uncertainty.cpu()
    if ranking.shape != labels.shape:
        raise UserError(f"uncertainty has shape {list(ranking.shape)}: it must have one number for each label.")
    _check_no_nan("uncertainty", ranking)
    _, group, size = torch.unique(ranking, return_inverse=True, return_counts=True)
    mean_error = torch.bincount(group, error) / size
    images = torch.arange(1, len(error) + 1, dtype=torch.float64)
    return images / len(error), mean_error.repeat_interleave(size).cumsum(0) / images


def aurc(probabilities: Tensor, labels: Tensor, *, uncertainty: Tensor | None = None) -> float:
    """Area under the risk-coverage curve: the mean of its risks; 0 is perfect (see `risk_coverage`)."""
    return risk_coverage(probabilities, labels, uncertainty=uncertainty)[1].mean().item()


def detection_auroc(in_distribution: Tensor, out_of_distribution: Tensor) -> float:
    """Area under the ROC curve of an uncertainty that detects out-of-distribution images: the probability that it is
    higher for a random out-of-distribution image than for a random other one.

    Args:
        in_distribution: Uncertainty of images like those of the training [N].
        out_of_distribution: Uncertainty of images unlike them [M].

    Raises:
        UserError: If there are no images of one kind, or an uncertainty is NaN.
    """
    for name, values in (("in_distribution", in_distribution), ("out_of_distribution", out_of_distribution)):
        if values.dim() != 1 or not len(values):
            raise UserError(f"{name} has shape {list(values.shape)}: give the uncertainty [N] of at least one image.")
        _check_no_nan(name, values)
    # not torchmetrics' auroc: it applies a sigmoid to scores above 1, which makes large ones equal
    pairs = len(in_distribution) * len(out_of_distribution)
    return float(mannwhitneyu(out_of_distribution.cpu(), in_distribution.cpu()).statistic) / pairs


def _check_no_nan(name: str, values: Tensor) -> None:
    missing = values.isnan().sum().item()
    if missing:
        raise UserError(f"{missing} of {len(values)} numbers of {name} are NaN, which can't be ranked.")


def _correct(probabilities: Tensor, labels: Tensor) -> Tensor:
    """1 for each image whose most probable class is the right one, otherwise 0."""
    return (probabilities.argmax(1) == labels).double()


def _checked(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and labels (int64) on the CPU; a `UserError` unless they belong together.

    On the CPU, because Apple's GPUs have no double precision, and some of CUDA's sums aren't deterministic.
    """
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise UserError(
            f"Probabilities of shape {list(probabilities.shape)} and labels of shape {list(labels.shape)} don't belong "
            "together: give [N, C] and [N], of at least one image."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"Labels must be whole numbers, but their type is {labels.dtype}: use labels.long().")
    probabilities, labels = probabilities.cpu(), labels.cpu().long()
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise UserError(f"Labels must be whole numbers from 0 to {probabilities.shape[1] - 1}.")
    if probabilities.amin() < 0 or not torch.allclose(probabilities.sum(1), probabilities.new_ones(()), atol=0.01):
        raise UserError("Each row must hold probabilities that add up to 1: turn logits into them with softmax(1).")
    return probabilities, labels

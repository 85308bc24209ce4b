"""Scores of probabilities, against examples worked by hand and other libraries."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, multiclass_calibration_error

from lit_cifar.training.metrics import ProbabilityScores
from lit_cifar.uncertainty import (
    accuracy,
    aurc,
    brier,
    detection_auroc,
    evaluate,
    expected_calibration_error,
    nll,
    reliability,
    risk_coverage,
)
from lit_cifar.utils.errors import UserError


def two_classes(confidences: list[float], correct: list[bool]) -> tuple[Tensor, Tensor]:
    """Predictions of class 0, right where the label is 0."""
    p = torch.tensor(confidences)
    return torch.stack([p, 1 - p], 1), (~torch.tensor(correct)).long()


def test_scores_by_hand() -> None:
    p, labels = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.0, 0.9]]), torch.tensor([1, 2])
    assert accuracy(p, labels) == 0.5
    assert nll(p, labels) == pytest.approx(-(math.log(0.3) + math.log(0.9)) / 2)
    assert brier(p, labels) == pytest.approx((0.25 + 0.49 + 0.04 + 0.01 + 0 + 0.01) / 2)
    assert expected_calibration_error(p, labels) == pytest.approx((0.5 + 0.1) / 2)
    assert aurc(p, labels) == pytest.approx((0 + 0.5) / 2)
    assert evaluate(p, labels) == {
        "accuracy": accuracy(p, labels),
        "nll": nll(p, labels),
        "brier": brier(p, labels),
        "ece": expected_calibration_error(p, labels),
        "aurc": aurc(p, labels),
    }


def test_a_right_class_of_probability_zero_costs_much_but_not_infinity() -> None:
    p, labels = two_classes([1.0], [False])
    assert nll(p, labels) == pytest.approx(-math.log(torch.finfo(torch.float32).tiny), rel=1e-5)


def test_calibration_error_by_hand() -> None:
    # bins of 1/15: two at 0.9 (mean 0.9, half right), two at 1 (both right), one at 0.6 (wrong)
    p, labels = two_classes([0.9, 0.9, 1.0, 1.0, 0.6], [True, False, True, True, False])
    assert expected_calibration_error(p, labels) == pytest.approx(2 / 5 * 0.4 + 2 / 5 * 0 + 1 / 5 * 0.6)


def test_a_confidence_of_1_belongs_to_the_last_bin() -> None:
    p, labels = two_classes([0.95, 1.0], [True, False])
    assert expected_calibration_error(p, labels) == pytest.approx(abs(0.975 - 0.5))
    binned = reliability(p, labels)
    assert binned.count.tolist() == [0] * 14 + [2]
    assert binned.upper[-1] == 1
    assert binned.accuracy[-1] == 0.5
    assert binned.confidence[-1] == pytest.approx(0.975)
    assert binned.accuracy[:-1].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_edge_belongs_to_the_bin_below(dtype: torch.dtype) -> None:
    p, labels = two_classes([0.6, 0.7, 0.8], [True, True, False])
    p = p.to(dtype).mul(10).round() / 10
    assert reliability(p, labels, bins=5).count.tolist() == [0, 0, 1, 2, 0]
    assert reliability(p, labels, bins=10).count.tolist() == [0] * 5 + [1, 1, 1, 0, 0]


def test_calibration_error_as_in_torchmetrics_away_from_1() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(500, 4, generator=generator).mul(2).softmax(1)
    labels = p.multinomial(1, generator=generator).squeeze(1)  # well calibrated: the error depends on the bins
    theirs = multiclass_calibration_error(p, labels, num_classes=4, n_bins=15, norm="l1").item()
    assert expected_calibration_error(p, labels) == pytest.approx(theirs, abs=1e-6)
    assert expected_calibration_error(p, labels, bins=14) != pytest.approx(theirs, abs=1e-3)
    assert theirs > 0.01


def test_risk_coverage_by_hand() -> None:
    p, labels = two_classes([0.7, 0.9, 0.8], [True, True, False])
    coverage, risk = risk_coverage(p, labels)
    assert coverage.tolist() == [1 / 3, 2 / 3, 1]
    assert risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3])
    assert aurc(p, labels) == pytest.approx(5 / 18)
    reverse = torch.tensor([2.0, 3.0, 1.0])
    assert risk_coverage(p, labels, uncertainty=reverse)[1].tolist() == pytest.approx([1, 1 / 2, 1 / 3])
    assert aurc(p, labels, uncertainty=reverse) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_ties_count_with_their_mean_whatever_the_order() -> None:
    confidences, correct = [0.9, 0.8, 0.8, 0.8, 0.7], [True, False, True, True, False]
    risk = risk_coverage(*two_classes(confidences, correct))[1]
    assert risk.tolist() == pytest.approx([0, 1 / 6, 2 / 9, 1 / 4, 2 / 5])
    backwards = risk_coverage(*two_classes(confidences[::-1], correct[::-1]))[1]
    torch.testing.assert_close(backwards, risk)


def test_detection_by_hand_and_as_in_torchmetrics() -> None:
    assert detection_auroc(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.5, 4.0])) == pytest.approx(5 / 6)
    assert detection_auroc(torch.tensor([1.0, 1.0]), torch.tensor([1.0])) == 0.5
    generator = torch.Generator().manual_seed(0)
    familiar, foreign = torch.rand(80, generator=generator), torch.rand(50, generator=generator).sqrt()
    truth = torch.cat([torch.zeros(80), torch.ones(50)]).long()
    theirs = binary_auroc(torch.cat([familiar, foreign]), truth).item()
    assert detection_auroc(familiar, foreign) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (torch.ones(3, 2) / 2, torch.zeros(2).long(), r"\[3, 2\] and labels of shape \[2\]"),
        (torch.ones(3) / 2, torch.zeros(3).long(), r"\[3\] and labels of shape \[3\]"),
        (torch.ones(0, 2), torch.zeros(0).long(), "at least one image"),
        (torch.ones(3, 2) / 2, torch.zeros(3), r"type is torch.float32: use labels.long\(\)"),
        (torch.ones(3, 2) / 2, torch.zeros(3).bool(), r"type is torch.bool"),
        (torch.ones(3, 2) / 2, torch.tensor([0, 1, 2]), "whole numbers from 0 to 1"),
        (torch.tensor([[2.0, -1.0]]), torch.tensor([0]), "logits"),
        (torch.tensor([[0.2, 0.3]]), torch.tensor([0]), "logits"),
        (torch.tensor([[math.nan, 0.3]]), torch.tensor([0]), "logits"),
    ],
)
def test_what_is_not_probabilities_and_labels_is_refused(probabilities: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(probabilities, labels)


def test_arguments_out_of_range_are_refused() -> None:
    p, labels = two_classes([0.7, 0.9], [True, True])
    with pytest.raises(UserError, match="bins=0"):
        reliability(p, labels, bins=0)
    with pytest.raises(UserError, match=r"shape \[3\]"):
        risk_coverage(p, labels, uncertainty=torch.zeros(3))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_may_have_any_integer_type(dtype: torch.dtype) -> None:
    p, labels = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.0, 0.9]]), torch.tensor([1, 2])
    assert evaluate(p, labels.to(dtype)) == evaluate(p, labels)


def test_uncertainties_that_are_nan_are_refused() -> None:
    p, labels = two_classes([0.7, 0.9, 0.6], [True, True, False])
    uncertainty = torch.tensor([1.0, math.nan, 2.0])
    with pytest.raises(UserError, match="1 of 3 numbers of uncertainty are NaN"):
        aurc(p, labels, uncertainty=uncertainty)
    with pytest.raises(UserError, match="1 of 3 numbers of out_of_distribution are NaN"):
        detection_auroc(torch.ones(2), uncertainty)
    assert aurc(p, labels, uncertainty=torch.tensor([1.0, math.inf, 2.0])) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)


@pytest.mark.parametrize(("known", "other", "name"), [(0, 2, "in_distribution"), (2, 0, "out_of_distribution")])
def test_detection_needs_images_of_both_kinds(known: int, other: int, name: str) -> None:
    with pytest.raises(UserError, match=rf"^{name} has shape \[0\]"):
        detection_auroc(torch.ones(known), torch.ones(other))


class SinglePrecision(Tensor):
    """A tensor as on Apple's GPUs, which have no double precision."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.cpu:
            return args[0].as_subclass(Tensor)
        found = super().__torch_function__(func, types, args, kwargs)
        if isinstance(found, Tensor) and found.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return found


def test_scores_need_no_double_precision_on_the_device() -> None:
    p, labels = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.0, 0.9]]), torch.tensor([1, 2])
    there, labels_there = p.as_subclass(SinglePrecision), labels.as_subclass(SinglePrecision)
    with pytest.raises(TypeError, match="float64"):
        there.double()
    assert evaluate(there, labels_there) == evaluate(p, labels)
    assert accuracy(there, labels_there) == accuracy(p, labels)
    assert nll(there, labels_there) == nll(p, labels)
    assert aurc(there, labels_there, uncertainty=there[:, 0]) == aurc(p, labels, uncertainty=p[:, 0])
    assert type(reliability(there, labels_there).confidence) is Tensor
    scores = ProbabilityScores()
    scores.update(there, labels_there)
    assert scores.compute() == evaluate(p, labels)

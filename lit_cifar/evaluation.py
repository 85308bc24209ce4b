"""Everything a test says about a network: from images and labels to the plain data of `test.json`.

`predict` turns images into tensors, batch by batch if need be. `evaluate_network` turns these tensors into scores and
curves, and adds corrupted and out-of-distribution images. `lit-cifar test` and studies call both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lit_cifar.data.corruptions import CORRUPTIONS, corrupt
from lit_cifar.figures import Example, Panels, RiskCurve
from lit_cifar.uncertainty import (
    Reliability,
    SampleCurve,
    detection_auroc,
    evaluate,
    mc_predict,
    reliability,
    risk_coverage,
    sample_curve,
    sample_points,
)

Found = Mapping[str, Tensor]
"""What `predict` finds for each image, on the CPU, in the order of the images; a test adds the `labels` [N]."""

Evaluation = Mapping[str, Any]
"""The content of `test.json`, which `EvaluationReport` describes."""

Curve = TypeVar("Curve")

WAYS = {"deterministic": "one pass, no dropout", "mc": "MC dropout"}
"""The ways to predict with a network, and what people call them."""

SCORES = {"accuracy": "accuracy", "nll": "NLL", "brier": "Brier score", "ece": "ECE, 15 bins", "aurc": "AURC"}
"""The scores of a test and what people call them."""

TEST_SCORES = ("accuracy", "nll", "ece")
"""The scores that TensorBoard's HParams tab shows, as `test/<score>`."""

UNCERTAINTIES = ("predictive_entropy", "expected_entropy", "mutual_information", "variation_ratio")
"""What MC dropout adds to each prediction; see `lit_cifar.uncertainty.MCPrediction`."""

BATCH_SIZE = 1000
CURVE_POINTS = 200
EXAMPLES = 6
"""Images in a row of examples."""


def predict(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Predict with one pass, in the network's present mode.

    Args:
        network: Takes uint8 images [B, C, H, W] and returns logits [B, classes].
        images: uint8 [N, C, H, W], on the network's device.

    Returns:
        Class probabilities [N, classes] as `probabilities`, at least in single precision.
    """
    with torch.no_grad():
        return {"probabilities": torch.cat([_probabilities(network(batch)) for batch in images.split(BATCH_SIZE)])}


def predict_by_mc(
    network: nn.Module, images: Tensor, *, samples: int, seed: int = 0, indices: range | None = None
) -> dict[str, Tensor]:
    """Predict with MC dropout.

    Args:
        network: As in `predict`, with dropout layers.
        images: uint8 [N, C, H, W], on the network's device.
        samples: Forward passes with dropout left on.
        seed: Decides which units are dropped.
        indices: Places of the images in their data set, which decide their dropout masks. Default: 0 to N - 1.

    Returns:
        Mean class probabilities [N, classes] as `mc_probabilities`, those of the first samples [N, P, classes], for
        each number of them in `sample_points(samples)`, as `mc_after`, and each of `UNCERTAINTIES` [N].
    """
    predicted = mc_predict(network, images, samples=samples, seed=seed, indices=indices, points=sample_points(samples))
    found = {name: getattr(predicted, name) for name in UNCERTAINTIES}
    return {**found, "mc_probabilities": predicted.probabilities, "mc_after": predicted.after}


def evaluate_network(
    network: nn.Module,
    found: Found,
    *,
    images: Tensor | None = None,
    mc_samples: int = 0,
    seed: int = 0,
    severities: Collection[int] = (),
    ood_images: Mapping[str, Tensor] | None = None,
) -> dict[str, Any]:
    """Everything a test says about a network, as plain data for JSON; `EvaluationReport` describes it.

    Args:
        network: The network in evaluation mode; it is run on corrupted and out-of-distribution images only.
        found: The `labels` [N] of the test images, and what `predict` and, with MC samples, `predict_by_mc` found.
        images: The test images, uint8 [N, C, H, W]; only needed for corruptions.
        mc_samples: MC samples of each prediction; 0 evaluates the plain network alone.
        seed: Decides MC dropout and the noise on corrupted images.
        severities: Severities, 1 to 5, at which every corruption is applied to the images.
        ood_images: Out-of-distribution images by kind, as `out_of_distribution_images` makes them.
    """
    result = evaluate_predictions(found, mc_samples)
    if severities and images is not None:
        result["shift"] = {
            str(severity): _shift(network, images, found["labels"], severity, mc_samples, seed)
            for severity in severities
        }
    if ood_images:
        result["detection"] = {
            kind: _detection(found, _predict_both(network, others, mc_samples, seed))
            for kind, others in ood_images.items()
        }
    return result


def evaluate_predictions(found: Found, mc_samples: int) -> dict[str, Any]:
    """The part of `evaluate_network` that needs no network: scores and curves of the test images."""
    labels = found["labels"]
    ways = _ways(found)
    ranked = rankings(found)
    result: dict[str, Any] = {
        "images": len(labels),
        "mc_samples": mc_samples,
        "scores": scores_of(found, labels),
        "risk_coverage": {
            way: {name: _risk_coverage(p, labels, uncertainty) for name, uncertainty in ranked[way].items()}
            for way, p in ways.items()
        },
        "reliability": {
            way: {name: _plain(values) for name, values in vars(reliability(p, labels)).items()}
            for way, p in ways.items()
        },
    }
    if mc_samples:
        result["samples"] = vars(sample_curve(found["mc_after"], labels, sample_points(mc_samples)))
    return result


def scores_of(found: Found, labels: Tensor) -> dict[str, dict[str, float]]:
    """The scores of each way to predict."""
    return {way: evaluate(p, labels) for way, p in _ways(found).items()}


def mean_scores(scores: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The means of what `scores_of` has found for several corruptions."""
    return {way: {name: fmean(each[way][name] for each in scores) for name in scores[0][way]} for way in scores[0]}


def rankings(found: Found) -> dict[str, dict[str, Tensor]]:
    """Uncertainties [N] that can rank images, the most uncertain highest, for each way to predict."""
    p = found["probabilities"]
    ranked = {"deterministic": {"confidence": -p.amax(1), "predictive_entropy": torch.special.entr(p).sum(1)}}
    if "mc_probabilities" in found:
        ranked["mc"] = {"confidence": -found["mc_probabilities"].amax(1)}
        ranked["mc"] |= {name: found[name] for name in UNCERTAINTIES}
    return ranked


def panels(
    evaluations: Mapping[str, Sequence[Evaluation]], curves: Callable[[Evaluation], Mapping[str, Curve]]
) -> Panels[Curve]:
    """The curves of several networks, as figures take them.

    Args:
        evaluations: Those of each network, one for each seed it was trained with.
        curves: Which curves to take: one of the functions below.
    """
    return {
        network: {name: [curves(seed)[name] for seed in seeds] for name in curves(seeds[0])}
        for network, seeds in evaluations.items()
    }


def reliability_curves(evaluation: Evaluation) -> dict[str, Reliability]:
    """The images binned by confidence, for each way to predict."""
    return {
        WAYS[way]: Reliability(**{name: _tensor(values) for name, values in bins.items()})
        for way, bins in evaluation["reliability"].items()
    }


def risk_curves(evaluation: Evaluation) -> dict[str, RiskCurve]:
    """Risk over coverage by confidence and, with MC dropout, by mutual information."""
    return {
        f"{WAYS[way]}: {name.replace('_', ' ')}": RiskCurve(curve["coverage"], curve["risk"], curve["aurc"])
        for way, by_name in evaluation["risk_coverage"].items()
        for name, curve in by_name.items()
        if name in ("confidence", "mutual_information")
    }


def sample_curves(evaluation: Evaluation) -> dict[str, SampleCurve]:
    """Scores by number of samples, with those of one pass without dropout as a horizontal line."""
    scores = evaluation["scores"]["deterministic"]
    level = SampleCurve((1, evaluation["mc_samples"]), (scores["accuracy"],) * 2, (scores["nll"],) * 2)
    return {WAYS["deterministic"]: level, WAYS["mc"]: SampleCurve(**evaluation["samples"])}


def certain_examples(
    probabilities: Tensor, labels: Tensor, images: Tensor, class_names: Sequence[str]
) -> dict[str, list[Example]]:
    """The images with the most and the least certain predictions, among the right and among the wrong ones."""
    confidence, prediction = probabilities.max(1)
    is_class, said_class = ([class_names[index] for index in indices.tolist()] for indices in (labels, prediction))
    rows: dict[str, list[Example]] = {}
    for how in ("most", "least"):
        for whether in ("right", "wrong"):
            chosen = ((prediction == labels) == (whether == "right")).nonzero().squeeze(1)
            order = confidence[chosen].argsort(descending=how == "most", stable=True)
            rows[f"{how} certain, {whether}"] = [
                Example(images[n], is_class[n], said_class[n], confidence[n].item())
                for n in chosen[order[:EXAMPLES]].tolist()
            ]
    return rows


def _probabilities(logits: Tensor) -> Tensor:
    return logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))


def _predict_both(network: nn.Module, images: Tensor, mc_samples: int, seed: int) -> Found:
    """What both ways to predict find for images on the CPU."""
    device = next(network.parameters(), images).device
    images = images.to(device)
    found = predict(network, images)
    if mc_samples:
        found |= predict_by_mc(network, images, samples=mc_samples, seed=seed)
    return {name: values.cpu() for name, values in found.items()}


def _ways(found: Found) -> dict[str, Tensor]:
    """The class probabilities of each way to predict."""
    names = {"deterministic": "probabilities", "mc": "mc_probabilities"}
    return {way: found[name] for way, name in names.items() if name in found}


def _shift(
    network: nn.Module, images: Tensor, labels: Tensor, severity: int, mc_samples: int, seed: int
) -> dict[str, dict[str, float]]:
    """The scores of each way to predict on corrupted images: means over the corruptions."""
    scores = []
    for corruption in CORRUPTIONS:
        found = _predict_both(network, corrupt(images, corruption, severity, seed=seed), mc_samples, seed)
        scores.append(scores_of(found, labels))
    return mean_scores(scores)


def _detection(familiar: Found, others: Found) -> dict[str, dict[str, float]]:
    """For each way to predict and each uncertainty, how well it tells other images from familiar ones: the AUROC."""
    ranked = rankings(others)
    return {
        way: {name: detection_auroc(uncertainty, ranked[way][name]) for name, uncertainty in by_name.items()}
        for way, by_name in rankings(familiar).items()
    }


def _risk_coverage(probabilities: Tensor, labels: Tensor, uncertainty: Tensor) -> dict[str, Any]:
    coverage, risk = risk_coverage(probabilities, labels, uncertainty=uncertainty)
    places = torch.linspace(1, len(labels), min(len(labels), CURVE_POINTS)).round().long() - 1
    curve = {"coverage": coverage, "risk": risk, "retention_error": coverage * risk}
    return {"aurc": risk.mean().item(), **{name: values[places].tolist() for name, values in curve.items()}}


def _plain(values: Tensor) -> list[float | None]:
    """A list for JSON, which has no NaN: it becomes None."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def _tensor(values: Sequence[float | None]) -> Tensor:
    """The tensor of a list from JSON."""
    return torch.tensor([math.nan if value is None else value for value in values])

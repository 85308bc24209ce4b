"""What a test says about a network, as plain data: what `test.json` holds, and its curves as pictures take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from lit_cifar.figures import Example, Panels, RiskCurve
from lit_cifar.training.module import UNCERTAINTIES
from lit_cifar.uncertainty import (
    Reliability,
    SampleCurve,
    evaluate,
    reliability,
    risk_coverage,
    sample_curve,
    sample_points,
)

Found = Mapping[str, Tensor]
"""What a test finds of each image, in the order of the data; `LitClassifier.test_step` says what there is."""

Evaluation = Mapping[str, Any]
"""The content of `test.json`, which `EvaluationReport` describes."""

Curve = TypeVar("Curve")

WAYS = {"deterministic": "one pass, no dropout", "mc": "MC dropout"}
"""The ways to predict with a network, and what people call them."""

CURVE_POINTS = 200
EXAMPLES = 6
"""Images in a row of examples."""


def measured(found: Found, mc_samples: int) -> dict[str, Any]:
    """The scores and curves of `test.json`; without MC samples those of one pass alone."""
    labels = found["labels"]
    ways = {"deterministic": found["probabilities"]}
    if mc_samples:
        ways["mc"] = found["mc_probabilities"]
    ranked = rankings(found)
    result: dict[str, Any] = {
        "images": len(labels),
        "mc_samples": mc_samples,
        "scores": {way: evaluate(p, labels) for way, p in ways.items()},
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


def rankings(found: Found) -> dict[str, dict[str, Tensor]]:
    """What may rank images by uncertainty [N], the most uncertain highest, without MC dropout and with it."""
    p = found["probabilities"]
    ranked = {"deterministic": {"confidence": -p.amax(1), "predictive_entropy": torch.special.entr(p).sum(1)}}
    if "mc_probabilities" in found:
        ranked["mc"] = {"confidence": -found["mc_probabilities"].amax(1)}
        ranked["mc"] |= {name: found[name] for name in UNCERTAINTIES}
    return ranked


def panels(
    evaluations: Mapping[str, Sequence[Evaluation]], curves: Callable[[Evaluation], Mapping[str, Curve]]
) -> Panels[Curve]:
    """What pictures of several networks take.

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
    """Risk over coverage by confidence, and by what MC dropout alone knows: mutual information."""
    return {
        f"{WAYS[way]}: {name.replace('_', ' ')}": RiskCurve(curve["coverage"], curve["risk"], curve["aurc"])
        for way, by_name in evaluation["risk_coverage"].items()
        for name, curve in by_name.items()
        if name in ("confidence", "mutual_information")
    }


def sample_curves(evaluation: Evaluation) -> dict[str, SampleCurve]:
    """The scores of more and more samples, and as a level line those of one pass without dropout."""
    scores = evaluation["scores"]["deterministic"]
    level = SampleCurve((1, evaluation["mc_samples"]), (scores["accuracy"],) * 2, (scores["nll"],) * 2)
    return {WAYS["deterministic"]: level, WAYS["mc"]: SampleCurve(**evaluation["samples"])}


def certain_examples(
    probabilities: Tensor, labels: Tensor, images: Tensor, class_names: Sequence[str]
) -> dict[str, list[Example]]:
    """The images whose predictions are the most and the least certain, of those that are right and that are wrong."""
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


def _risk_coverage(probabilities: Tensor, labels: Tensor, uncertainty: Tensor) -> dict[str, Any]:
    coverage, risk = risk_coverage(probabilities, labels, uncertainty=uncertainty)
    places = torch.linspace(1, len(labels), min(len(labels), CURVE_POINTS)).round().long() - 1
    curve = {"coverage": coverage, "risk": risk, "retention_error": coverage * risk}
    return {"aurc": risk.mean().item(), **{name: values[places].tolist() for name, values in curve.items()}}


def _plain(values: Tensor) -> list[float | None]:
    """A list for JSON, which knows no nan."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def _tensor(values: Sequence[float | None]) -> Tensor:
    """The other way round."""
    return torch.tensor([math.nan if value is None else value for value in values])

"""The pictures of a report that show what MC dropout makes of networks that have dropout."""

from __future__ import annotations

from collections.abc import Sequence

from lit_cifar import figures
from lit_cifar.evaluation import WAYS, Evaluation, panels, reliability_curves, risk_curves, sample_curves
from lit_cifar.study.artifacts import EXAMPLES_SEED, Examples
from lit_cifar.study.report.page import Picture
from lit_cifar.study.report.pictures import picture
from lit_cifar.study.result import StudyResult

Evaluations = dict[str, list[Evaluation]]
"""The tests of each run that has MC dropout, one for each seed."""


def uncertainty_pictures(result: StudyResult) -> list[Picture]:
    """Reliability, risk over coverage, what more samples buy, and examples, where runs have kept what that takes."""
    evaluations: Evaluations = {}
    for (run, _), evaluation in result.evaluations.items():
        if evaluation["mc_samples"]:
            evaluations.setdefault(run, []).append(evaluation)
    pictures = [_reliability, _risk_coverage, _samples] if evaluations else []
    return [*(make(result, evaluations) for make in pictures), *_examples(result)]


def _reliability(result: StudyResult, evaluations: Evaluations) -> Picture:
    drawn = figures.reliability_diagram(panels(evaluations, reliability_curves), result.data_source)
    parts = [f"{run}: {_both(seeds, 'ece')}." for run, seeds in evaluations.items()]
    caption = (
        "How often the network is right (above) when it is so sure, and how many images it is so sure about (below): a "
        "calibrated network is on the dotted diagonal, an overconfident one below it. The images of all seeds "
        "together; the ECE, the mean distance from the diagonal, is the mean over seeds."
    )
    alt = f"Reliability diagrams. Expected calibration error of {' '.join(parts)}"
    return picture("reliability", drawn, alt, caption)


def _risk_coverage(result: StudyResult, evaluations: Evaluations) -> Picture:
    drawn = figures.risk_coverage(panels(evaluations, risk_curves), result.data_source)
    parts = [f"{run}: {_both(seeds, 'aurc')}." for run, seeds in evaluations.items()]
    caption = (
        "The error rate among the images that the network is most certain of, over how many of them there are, ranked "
        "by confidence or by mutual information; lower is better. The legend has the mean error rate over all shares "
        "(AURC). Lines are means over seeds, bands go from the lowest to the highest."
    )
    alt = f"Error rate over the share of images kept. Mean error rate, ranked by confidence, of {' '.join(parts)}"
    return picture("risk_coverage", drawn, alt, caption)


def _samples(result: StudyResult, evaluations: Evaluations) -> Picture:
    drawn = figures.accuracy_by_samples(panels(evaluations, sample_curves), result.data_source)
    parts = [f"{run}: {_with_more(seeds)}." for run, seeds in evaluations.items()]
    caption = (
        "Accuracy and negative log-likelihood of the mean of the first MC samples, over their number, beside one pass "
        "without dropout (level). Lines are means over seeds, bands go from the lowest to the highest."
    )
    alt = f"Accuracy and NLL over the number of MC samples. {' '.join(parts)}"
    return picture("mc_samples", drawn, alt, caption)


def _with_more(seeds: Sequence[Evaluation]) -> str:
    """The scores of one MC sample and of all, as means over seeds."""
    curves, ends = [seed["samples"] for seed in seeds], (0, -1)
    accuracy, nll = ([_mean([curve[score][k] for curve in curves]) for k in ends] for score in ("accuracy", "nll"))
    return (
        f"accuracy {100 * accuracy[0]:.1f} % with 1 sample and {100 * accuracy[1]:.1f} % with "
        f"{curves[0]['samples'][-1]}, NLL {nll[0]:.3f} and {nll[1]:.3f}"
    )


def _examples(result: StudyResult) -> list[Picture]:
    """Those of one run: pictures of all would be most of the report's bytes."""
    if not result.examples:
        return []
    run, rows = next(iter(result.examples.items()))
    drawn = figures.examples(rows, f"The most and least certain images: {run}, {WAYS['mc']}", result.data_source)
    caption = (
        f"The test images that {run} (seed {EXAMPLES_SEED}) is most and least certain of, among those it gets "
        "right and those it gets wrong, with the class it takes them for and its probability; under a wrong one "
        "stands what it is."
    )
    return [picture("examples", drawn, _examples_alt(run, rows), caption, photographs=True)]


def _examples_alt(run: str, rows: Examples) -> str:
    parts = []
    for row, shown in rows.items():
        words = [
            f"{example.prediction} {100 * example.confidence:.0f} %"
            + (f" (is {example.label})" if example.prediction != example.label else "")
            for example in shown
        ]
        parts.append(f"{row.capitalize()}: {', '.join(words) or 'none'}.")
    return f"Images with the predictions of {run}. {' '.join(parts)}"


def _both(seeds: Sequence[Evaluation], score: str) -> str:
    """A score without MC dropout and with it, as means over seeds."""
    plain, mc = (_mean([seed["scores"][way][score] for seed in seeds]) for way in WAYS)
    return f"{plain:.3f} without MC dropout and {mc:.3f} with it"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

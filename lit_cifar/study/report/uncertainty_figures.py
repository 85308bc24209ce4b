"""The figures of a report about networks with MC dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from lit_cifar import figures
from lit_cifar.evaluation import WAYS, Evaluation, panels, reliability_curves, risk_curves, sample_curves
from lit_cifar.study.artifacts import EXAMPLES_SEED, Examples
from lit_cifar.study.report.figures import report_figure
from lit_cifar.study.report.page import ReportFigure
from lit_cifar.study.result import StudyResult

Evaluations = dict[str, list[Evaluation]]
"""For each run with MC dropout, the tests of its seeds."""


@dataclass(frozen=True)
class _Kind:
    """A figure with a panel for each run that has MC dropout.

    Args:
        name: Name of the figure's file.
        draw: Draws the panels and the data's name.
        curves: The curves of a test.
        alt: Alternative text, for those who can't see the figure.
        scores: Its main numbers for the tests of a run.
        caption: Caption of the figure.
    """

    name: str
    draw: Callable[[Any, str], Figure]
    curves: Callable[[Evaluation], Any]
    alt: str
    scores: Callable[[Sequence[Evaluation]], str]
    caption: str


def uncertainty_figures(result: StudyResult) -> list[ReportFigure]:
    """Reliability, risk over coverage, accuracy by MC samples, and examples, for runs that have MC dropout."""
    evaluations: Evaluations = {}
    for (run, _), evaluation in result.evaluations.items():
        if evaluation["mc_samples"]:
            evaluations.setdefault(run, []).append(evaluation)
    kinds = _KINDS if evaluations else ()
    return [*(_drawn(kind, evaluations, result.data_source) for kind in kinds), *_examples(result)]


def _drawn(kind: _Kind, evaluations: Evaluations, data_source: str) -> ReportFigure:
    scores = " ".join(f"{run}: {kind.scores(seeds)}." for run, seeds in evaluations.items())
    drawn = kind.draw(panels(evaluations, kind.curves), data_source)
    return report_figure(kind.name, drawn, f"{kind.alt} {scores}", kind.caption)


def _with_more(seeds: Sequence[Evaluation]) -> str:
    """The scores of one MC sample and of all, as means over seeds."""
    curves, ends = [seed["samples"] for seed in seeds], (0, -1)
    accuracy, nll = ([fmean([curve[score][k] for curve in curves]) for k in ends] for score in ("accuracy", "nll"))
    return (
        f"accuracy {100 * accuracy[0]:.1f} % with 1 sample and {100 * accuracy[1]:.1f} % with "
        f"{curves[0]['samples'][-1]}, NLL {nll[0]:.3f} and {nll[1]:.3f}"
    )


def _examples(result: StudyResult) -> list[ReportFigure]:
    """The examples of one run. Those of all runs would take most of the report's bytes."""
    if not result.examples:
        return []
    run, rows = next(iter(result.examples.items()))
    drawn = figures.examples(rows, f"The most and least certain images: {run}, {WAYS['mc']}", result.data_source)
    caption = (
        f"The test images that {run} (seed {EXAMPLES_SEED}) is most and least certain of, among its right and its "
        "wrong predictions, with the predicted class and its probability. Below a wrong prediction is the true class."
    )
    return [report_figure("examples", drawn, _examples_alt(run, rows), caption, photographs=True)]


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
    plain, mc = (fmean([seed["scores"][way][score] for seed in seeds]) for way in WAYS)
    return f"{plain:.3f} without MC dropout and {mc:.3f} with it"


_KINDS = (
    _Kind(
        name="reliability",
        draw=figures.reliability_diagram,
        curves=reliability_curves,
        alt="Reliability diagrams. Expected calibration error of",
        scores=lambda seeds: _both(seeds, "ece"),
        caption="Accuracy over confidence (above), and how many images have which confidence (below). A calibrated "
        "network is on the dotted diagonal, an overconfident one below it. The images of all seeds are pooled; the "
        "ECE, the mean distance from the diagonal, is the mean over seeds.",
    ),
    _Kind(
        name="risk_coverage",
        draw=figures.risk_coverage,
        curves=risk_curves,
        alt="Error rate over the share of images kept. Mean error rate, ranked by confidence, of",
        scores=lambda seeds: _both(seeds, "aurc"),
        caption="The error rate among the images that the network is most certain of, over their share of all images, "
        "ranked by confidence or by mutual information; lower is better. The legend has the mean error rate over all "
        "shares (AURC). Lines are means over seeds, bands are their range.",
    ),
    _Kind(
        name="mc_samples",
        draw=figures.accuracy_by_samples,
        curves=sample_curves,
        alt="Accuracy and NLL over the number of MC samples.",
        scores=_with_more,
        caption="Accuracy and negative log-likelihood of the mean of the first MC samples, over their number, beside "
        "one pass without dropout (level). Lines are means over seeds, bands are their range.",
    ),
)

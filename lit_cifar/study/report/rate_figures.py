"""Figures of learning rates: how they were searched, and how accuracy depends on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from lit_cifar import figures
from lit_cifar.study.plan import RATE_FACTORS
from lit_cifar.study.report.figures import report_figure
from lit_cifar.study.report.page import ReportFigure
from lit_cifar.study.report.wording import suggestion
from lit_cifar.study.result import StudyResult

Ladder = Sequence[Mapping[str, Any]]
"""Learning rates with the validation accuracies of some seeds, the chosen one first."""

SHORT, FULL = "short runs of the search", "full trainings"


def rate_figures(result: StudyResult) -> list[ReportFigure]:
    """Accuracy over the learning rate, and the searches, if there are any."""
    return [*_accuracy_figures(result), *_search_figures(result)]


def full_ladders(result: StudyResult) -> dict[str, Ladder]:
    """The full trainings at half, once and twice the learning rate, of the seeds that all three have."""
    if set(result.varied) != set(RATE_FACTORS):
        return {}
    found = {run: list(_rungs(result, run)) for run in result.study.runs}
    return {run: ladder for run, ladder in found.items() if len(ladder) == 1 + len(RATE_FACTORS)}


def _rungs(result: StudyResult, run: str) -> Iterator[dict[str, Any]]:
    tables = [result.results, *(found for found, _ in result.varied.values())]
    of_run = [table[(table["run"] == run) & (table["status"] == "ok")].set_index("seed") for table in tables]
    seeds = sorted(set.intersection(*(set(table.index) for table in of_run)))
    for table in of_run if seeds else ():
        rows = table.loc[seeds]
        yield {"learning_rate": float(rows["lr"].iloc[0]), "val_accuracies": rows["val_acc"].tolist()}


def _accuracy_figures(result: StudyResult) -> list[ReportFigure]:
    """Accuracy over the learning rate. Searches of older versions had one seed and are left out."""
    short = {name: search["ladder"] for name, search in result.searches.items() if "ladder" in search}
    panels = {SHORT: short, FULL: full_ladders(result)}
    if not any(panels.values()):
        return []
    parts = [f"{title}: {_best(ladders)}" for title, ladders in panels.items() if ladders]
    caption = (
        "The mean validation accuracy of several seeds at a ladder of learning rates: short runs of a few epochs, "
        "which decide, and full trainings at half, once and twice the chosen rate, where they were repeated. If a "
        "curve is flat around the chosen rate, the choice hardly matters; if it is steep, the comparison depends on it."
    )
    drawn = figures.accuracy_by_learning_rate(panels, result.data_source, runs=list(result.study.runs))
    alt = f"Validation accuracy over the learning rate, at the chosen one: {' '.join(parts)}"
    return [report_figure("accuracy_by_learning_rate", drawn, alt, caption)]


def _best(ladders: Mapping[str, Ladder]) -> str:
    parts = [
        f"{name} {100 * fmean(chosen['val_accuracies']):.1f} % at {chosen['learning_rate']:.2g}"
        for name, (chosen, *_) in ladders.items()
    ]
    return f"{', '.join(parts)}."


def _search_figures(result: StudyResult) -> list[ReportFigure]:
    if not result.searches:
        return []
    alt = " ".join(
        f"{name}: the smoothed loss falls from {search['smoothed'][0]:.2f} to {min(search['smoothed']):.2f}; "
        f"{suggestion(search)}."
        for name, search in result.searches.items()
    )
    caption = (
        "Range tests: the loss of each training batch while the learning rate rises (dots), smoothed (line), and the "
        "learning rate this suggests (dashed). Squares: mean validation losses of short runs; the lowest decides."
    )
    drawn = figures.learning_rate_curves(result.searches, result.data_source, runs=list(result.study.runs))
    return [report_figure("learning_rates", drawn, f"Loss over learning rate. {alt}", caption)]

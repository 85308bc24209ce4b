"""The values of a question's two runs, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from lit_cifar.study.measures import MEASURES, Measure
from lit_cifar.study.schema import Question, Study
from lit_cifar.study.statistics import Pairs

Histories = Mapping[tuple[str, int], pd.DataFrame]
"""The epochs of each run, by its name and seed: one row an epoch."""

TO_REACH = ("epochs_to_reach", "seconds_to_reach")


@dataclass(frozen=True)
class PairedValues:
    """The values of two runs by seed: nan where a run is missing, or has failed and counts as nothing.

    Args:
        treatment: The treatment's value for each seed.
        baseline: The baseline's value for each seed.
        failed: The seeds for which a run of the pair has failed.
    """

    treatment: list[float]
    baseline: list[float]
    failed: frozenset[int]

    def without_failed(self) -> PairedValues:
        """The same without the pairs of which a run has failed."""
        treatment, baseline = (
            [math.nan if seed in self.failed else value for seed, value in enumerate(values)]
            for values in (self.treatment, self.baseline)
        )
        return PairedValues(treatment, baseline, frozenset())

    def pairs(self, question: Question) -> Pairs:
        """The values as the tests take them."""
        measure = MEASURES[question.measure]
        return Pairs(
            treatment=self.treatment,
            baseline=self.baseline,
            better=measure.better,
            scale=measure.scale,
            margin=margin_of(question),
            relative=measure.relative,
        )


def margin_of(question: Question) -> float:
    """The smallest difference that matters for a question."""
    return MEASURES[question.measure].margin if question.margin is None else question.margin


def paired_values(
    question: Question, study: Study, seeds: int, results: pd.DataFrame, histories: Histories
) -> PairedValues:
    """Collect the values of a question's two runs for the first seeds.

    A failed run counts as one that knows nothing: its accuracy is 1 / classes, its NLL the logarithm of their number.
    Measures without such a value leave its pair out.
    """
    runs = (question.treatment, question.baseline)
    failed_runs = results[(results["status"] != "ok") & results["run"].isin(runs) & (results["seed"] < seeds)]
    failed = frozenset(failed_runs["seed"].tolist())
    if question.measure in TO_REACH:
        reached = [_to_reach(question, study, seed, results, histories) for seed in range(seeds)]
        return PairedValues([one for one, _ in reached], [other for _, other in reached], failed)
    treatment = _column(results, question.treatment, question.measure, seeds)
    baseline = _column(results, question.baseline, question.baseline_measure or question.measure, seeds)
    return PairedValues(treatment, baseline, failed)


def _column(results: pd.DataFrame, run: str, column: str, seeds: int) -> list[float]:
    rows = {row["seed"]: row for row in results[results["run"] == run].to_dict("records")}
    guess = _guess(MEASURES[column], results)
    return [
        math.nan if seed not in rows else rows[seed].get(column, math.nan) if rows[seed]["status"] == "ok" else guess
        for seed in range(seeds)
    ]


def _guess(measure: Measure, results: pd.DataFrame) -> float:
    """What a failed run counts as; nan if nothing, or if no run says how many classes there are."""
    classes = results["classes"].dropna().tolist() if "classes" in results else []
    return measure.guess(int(classes[0])) if measure.guess and classes else math.nan


def _to_reach(
    question: Question, study: Study, seed: int, results: pd.DataFrame, histories: Histories
) -> tuple[float, float]:
    """Epochs (or training seconds) until both runs of a seed have a validation loss that both of them reach.

    That is the higher of their two lowest losses. A failed run reaches none: it counts as the most epochs it might
    have taken, and has no seconds.
    """
    names = (question.treatment, question.baseline)
    status = results[results["seed"] == seed].set_index("run")["status"].to_dict()
    finished = {name: histories.get((name, seed)) for name in names if status.get(name) == "ok"}
    epochs = {name: history for name, history in finished.items() if history is not None and not history.empty}
    target = max((history["val/loss"].min() for history in epochs.values()), default=math.nan)
    per_seconds = question.measure == "seconds_to_reach"

    def cost(name: str) -> float:
        if name in epochs:
            return _cost_to_reach(epochs[name], target, per_seconds)
        failed = status.get(name, "ok") != "ok"
        return math.nan if per_seconds or not failed else float(study.run_protocol(name).max_epochs)

    return cost(names[0]), cost(names[1])


def _cost_to_reach(history: pd.DataFrame, target: float, per_seconds: bool) -> float:
    epochs = int((history["val/loss"] <= target).to_numpy().argmax()) + 1
    return float(history["train/seconds"].iloc[:epochs].sum(skipna=False)) if per_seconds else float(epochs)

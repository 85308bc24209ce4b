"""The values of a question's two runs, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from lit_cifar.callbacks.non_finite_loss import is_divergence
from lit_cifar.study.looks import FIRST_ROUNDS
from lit_cifar.study.measures import MEASURES, Measure
from lit_cifar.study.plan import Neighbour
from lit_cifar.study.schema import Question, Study
from lit_cifar.study.statistics import Pairs

Histories = Mapping[tuple[str, int], pd.DataFrame]
"""The epochs of each run, by its name and seed: one row an epoch."""

Varied = Mapping[Neighbour, tuple[pd.DataFrame, Histories]]
"""The results and the epochs of the runs at other learning rates."""

TO_REACH = ("epochs_to_reach", "seconds_to_reach")
"""Measures that need both runs' epochs."""


@dataclass(frozen=True)
class PairedValues:
    """The values of two runs by seed: nan where a run is missing, or has diverged and has no such value.

    Args:
        treatment: The treatment's value for each seed.
        baseline: The baseline's value for each seed.
        failed: The seeds for which a run of the pair has diverged.
        left_out: The seeds for which a run of the pair has failed otherwise.
    """

    treatment: list[float]
    baseline: list[float]
    failed: frozenset[int] = frozenset()
    left_out: frozenset[int] = frozenset()

    def without_failed(self) -> PairedValues:
        """The same without the pairs of which a run has failed."""
        treatment, baseline = (
            [math.nan if seed in self.failed else value for seed, value in enumerate(values)]
            for values in (self.treatment, self.baseline)
        )
        return PairedValues(treatment, baseline)

    def pairs(self, question: Question) -> Pairs:
        """The values as the tests take them."""
        measure = measure_of(question)
        return Pairs(
            treatment=self.treatment,
            baseline=self.baseline,
            better=measure.better,
            scale=measure.scale,
            margin=margin_of(question),
            relative=measure.relative,
        )


def measure_of(question: Question) -> Measure:
    """What a question compares."""
    measure = MEASURES[question.measure]
    return measure if question.better is None else replace(measure, better=question.better)


def margin_of(question: Question) -> float:
    """The smallest difference that matters for a question."""
    return MEASURES[question.measure].margin if question.margin is None else question.margin


def paired_values(
    question: Question,
    study: Study,
    seeds: int,
    results: pd.DataFrame,
    histories: Histories,
    timings: pd.DataFrame | None = None,
) -> PairedValues:
    """Collect the values of a question's two runs for the first seeds; for what is timed, those of the rounds.

    A run whose loss became NaN or infinite counts as one that knows nothing: its accuracy is 1 / classes, its NLL the
    logarithm of their number. It needs all its epochs to reach a loss. Measures without such a value leave its pair
    out. A run that failed for another reason, as when its process was killed, is missing.

    Args:
        question: The question.
        study: Its study.
        seeds: How many seeds there are.
        results: One row for each run and seed.
        histories: The epochs of each run.
        timings: The rounds in which runs were timed alone; None if they weren't.
    """
    if MEASURES[question.measure].timed == "rounds":
        treatment, baseline = _of_rounds(question, timings)
        return PairedValues(treatment, baseline)
    runs = (question.treatment, question.baseline)
    failures = results[(results["status"] != "ok") & results["run"].isin(runs) & (results["seed"] < seeds)]
    diverged = frozenset(counting(failures)["seed"].tolist())
    others = frozenset(failures["seed"].tolist()) - diverged
    results = counting(results)
    if question.measure in TO_REACH:
        reached = [_to_reach(question, study, seed, results, histories) for seed in range(seeds)]
        values = [list(of_run) for of_run in zip(*reached, strict=True)]
    else:
        values = [_column(results, run, column, seeds) for run, column in zip(runs, _columns(question), strict=True)]
    if MEASURES[question.measure].timed:
        values = [_in_seconds(*of_run) for of_run in zip(values, _rounds(question, timings), strict=True)]
    return PairedValues(values[0], values[1], diverged, others)


def counting(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that have finished or diverged; runs that failed for another reason say nothing."""
    return results[(results["status"] == "ok") | results["reason"].map(is_divergence).astype(bool)]


def _columns(question: Question) -> tuple[str, str]:
    """The columns of the results that are compared; training seconds are made from epochs."""
    if MEASURES[question.measure].timed:
        return "epochs", "epochs"
    return question.measure, question.baseline_measure or question.measure


def _of_rounds(question: Question, timings: pd.DataFrame | None) -> tuple[list[float], list[float]]:
    """The times of a question's two runs in each round."""
    treatment, baseline = _rounds(question, timings)
    column = question.baseline_measure or question.measure
    return [row[question.measure] for row in treatment], [row[column] for row in baseline]


def _rounds(question: Question, timings: pd.DataFrame | None) -> list[list[Mapping[Hashable, float]]]:
    """The rounds of a question's two runs, in the same order; none if one of them wasn't timed."""
    runs = (question.treatment, question.baseline)
    if timings is None or timings.empty:
        return [[], []]
    found = [timings[timings["run"] == run].set_index("round") for run in runs]
    both = sorted(set(found[0].index) & set(found[1].index))
    return [[*of_run.loc[both].to_dict("records")] for of_run in found]


def _in_seconds(epochs: Sequence[float], rounds: Sequence[Mapping[Hashable, float]]) -> list[float]:
    """Epochs of each seed in seconds. The seeds take the first rounds in turn: their spread has that of the times."""
    rounds = rounds[:FIRST_ROUNDS]  # a seed keeps its round when more follow
    if not rounds:
        return [math.nan] * len(epochs)
    return [number * rounds[seed % len(rounds)]["seconds_per_epoch"] for seed, number in enumerate(epochs)]


def _column(results: pd.DataFrame, run: str, column: str, seeds: int) -> list[float]:
    rows = {row["seed"]: row for row in results[results["run"] == run].to_dict("records")}
    guess = guess_for(MEASURES[column], results)
    return [
        math.nan if seed not in rows else rows[seed].get(column, math.nan) if rows[seed]["status"] == "ok" else guess
        for seed in range(seeds)
    ]


def guess_for(measure: Measure, results: pd.DataFrame) -> float:
    """The value of a diverged run; nan if there is none, or if the number of classes is unknown."""
    classes = results["classes"].dropna().tolist() if "classes" in results else []
    return measure.guess(int(classes[0])) if measure.guess and classes else math.nan


def _to_reach(
    question: Question, study: Study, seed: int, results: pd.DataFrame, histories: Histories
) -> tuple[float, float]:
    """Epochs until both runs of a seed have a validation loss that both of them reach.

    That is the higher of their two lowest losses. A diverged run reaches none: it counts as the most epochs it might
    have taken. Where both have diverged, there is no loss to reach: nan.
    """
    names = (question.treatment, question.baseline)
    status = results[results["seed"] == seed].set_index("run")["status"].to_dict()
    finished = {name: histories.get((name, seed)) for name in names if status.get(name) == "ok"}
    losses = {name: epochs["val/loss"] for name, epochs in finished.items() if epochs is not None and not epochs.empty}
    if not losses:
        return math.nan, math.nan
    target = max(of_run.min() for of_run in losses.values())

    def epochs_of(name: str) -> float:
        if name in losses:
            return epochs_to_reach(losses[name], target)
        return float(study.run_protocol(name).max_epochs) if status.get(name, "ok") != "ok" else math.nan

    return epochs_of(names[0]), epochs_of(names[1])


def epochs_to_reach(losses: pd.Series, target: float) -> float:
    """The number of epochs after which a validation loss is reached for the first time; infinite if it never is."""
    reached = (losses <= target).to_numpy()
    return float(reached.argmax()) + 1 if reached.any() else math.inf

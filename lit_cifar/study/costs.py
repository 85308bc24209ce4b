"""Costs and gains of each run: parameters, seconds per epoch, epochs and seconds to the baseline's best loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from lit_cifar.study.measures import MEASURES, is_logged
from lit_cifar.study.paired import counting, epochs_to_reach
from lit_cifar.study.result import StudyResult
from lit_cifar.study.statistics import Estimate, estimate

NEVER = "never"


@dataclass(frozen=True)
class Cost:
    """What one run gains and costs.

    Args:
        run: Its name.
        gain: The measure of the study's first question, with its interval over seeds.
        parameters: The number of trained parameters; None if every run failed.
        seconds: Seconds per epoch of a run alone, the geometric mean of its first rounds; nan if it wasn't timed.
        epochs: The epochs to the baseline's lowest validation loss of the same seed, the median over seeds; infinite if
            most seeds never get there, nan if the baseline has none.
        never: How many seeds never get there.
        seeds: How many seeds were compared.
    """

    run: str
    gain: Estimate
    parameters: int | None
    seconds: Estimate
    epochs: float
    never: int
    seeds: int

    @property
    def seconds_to_reach(self) -> float:
        """The seconds that these epochs take."""
        return self.epochs * self.seconds.mean


def reference(result: StudyResult) -> tuple[str, str]:
    """The run that others are compared with, and the column of the gain's measure.

    They are those of the primary question, or of the first one, that compares two runs by a score. Without such a
    question they are the first question's baseline, or the first run, and test accuracy.
    """
    questions = sorted(result.study.questions, key=lambda question: not question.primary)
    for question in questions:
        if question.treatment != question.baseline and _is_score(question.measure, result):
            return question.baseline, question.measure
    return questions[0].baseline if questions else next(iter(result.study.runs)), "test_acc"


def _is_score(column: str, result: StudyResult) -> bool:
    """Whether a column of the results says how good a run is: seconds and logged values don't."""
    return column in result.summary and not is_logged(column) and MEASURES[column].timed is None


def costs(result: StudyResult) -> list[Cost]:
    """The gains and costs of all runs of a study, in the order of the study."""
    baseline, column = reference(result)
    found = set(result.results["run"])
    return [_cost(result, run, baseline, column) for run in result.study.runs if run in found]


def epochs_text(cost: Cost) -> str:
    """The epochs to the baseline's loss for people: a median, or "never"."""
    if cost.epochs != cost.epochs:
        return "–"
    return f"{cost.epochs:g}" if math.isfinite(cost.epochs) else NEVER


def seconds_text(cost: Cost) -> str:
    """The seconds to the baseline's loss for people."""
    if cost.seconds_to_reach != cost.seconds_to_reach:
        return "–"
    return f"{cost.seconds_to_reach:.1f}" if math.isfinite(cost.seconds_to_reach) else NEVER


def _cost(result: StudyResult, run: str, baseline: str, column: str) -> Cost:
    rows = result.results[result.results["run"] == run]
    timings = result.first_timings
    timed = timings.loc[timings["run"] == run, "seconds_per_epoch"].tolist() if len(timings) else []
    parameters = rows["parameters"].dropna().tolist() if "parameters" in rows else []
    reached = list(_epochs(result, run, baseline))
    return Cost(
        run=run,
        gain=estimate(rows[column].tolist() if column in rows else [], log=MEASURES[column].scale == "ratio"),
        parameters=int(parameters[0]) if len(parameters) else None,
        seconds=estimate(timed, log=True) if timed else estimate([]),
        epochs=median(reached) if reached else math.nan,
        never=sum(map(math.isinf, reached)),
        seeds=len(reached),
    )


def _epochs(result: StudyResult, run: str, baseline: str) -> Iterator[float]:
    """For each seed, the epochs to the baseline's lowest loss; infinite for a diverged run."""
    finished = result.finished_histories
    rows = counting(result.results)
    seeds = set(rows.loc[rows["run"] == run, "seed"])
    for (name, seed), epochs in finished.items():
        if name == baseline and seed in seeds:
            own = finished.get((run, seed))
            yield math.inf if own is None else epochs_to_reach(own["val/loss"], epochs["val/loss"].min())

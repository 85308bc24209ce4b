"""From rows to answers: what each question's paired runs say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from lit_cifar.study.measures import MEASURES, Measure
from lit_cifar.study.schema import Question, Study
from lit_cifar.study.statistics import Estimate, Verdict, compare_paired, estimate, judge

Histories = Mapping[tuple[str, int], pd.DataFrame]
"""The epochs of each run, by its name and seed: one row an epoch."""


@dataclass(frozen=True)
class Answer:
    """A question with its verdict and both runs' figures."""

    question: Question
    verdict: Verdict
    treatment: Estimate
    baseline: Estimate

    @property
    def measure(self) -> Measure:
        return MEASURES[self.question.measure]


def answer_questions(study: Study, results: pd.DataFrame, histories: Histories) -> list[Answer]:
    """Answer every question of a study; together they are one family for the correction of p-values."""
    values = [paired_values(question, study.seeds, results, histories) for question in study.questions]
    comparisons = [
        compare_paired(treatment, baseline, better=MEASURES[question.measure].better, margin=question.margin or 0.0)
        for question, (treatment, baseline) in zip(study.questions, values, strict=True)
    ]
    return [
        Answer(question, verdict, estimate(treatment), estimate(baseline))
        for question, verdict, (treatment, baseline) in zip(study.questions, judge(comparisons), values, strict=True)
    ]


def summarize(results: pd.DataFrame) -> pd.DataFrame:
    """A row a run: mean, 95 % interval and number of seeds of every measure."""
    rows = []
    for name, group in results.groupby("run", sort=False):
        rates = pd.to_numeric(group["lr"], errors="coerce").dropna()  # a failed run may not know its own
        row: dict[str, object] = {"run": name, "variant": group["variant"].iloc[0]}
        row["lr"] = rates.iloc[-1] if len(rates) else math.nan
        row |= {"seeds": len(group), "failed": int((group["status"] != "ok").sum())}
        for column in MEASURES:
            if column in group and group[column].notna().any():
                found = estimate(group[column].tolist())
                row |= {column: found.mean, f"{column}_low": found.low, f"{column}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows)


def paired_values(
    question: Question, seeds: int, results: pd.DataFrame, histories: Histories
) -> tuple[list[float], list[float]]:
    """The treatment's and the baseline's figure for each seed; nan where a run is missing or has failed."""
    if question.measure in ("epochs_to_reach", "seconds_to_reach"):
        per_seconds = question.measure == "seconds_to_reach"
        reached = [_to_reach(question, seed, histories, per_seconds) for seed in range(seeds)]
        return [treatment for treatment, _ in reached], [baseline for _, baseline in reached]
    return (
        _column(results, question.treatment, question.measure, seeds),
        _column(results, question.baseline, question.baseline_measure or question.measure, seeds),
    )


def _column(results: pd.DataFrame, run: str, column: str, seeds: int) -> list[float]:
    ok = results[(results["run"] == run) & (results["status"] == "ok")]
    if column not in ok:
        return [math.nan] * seeds
    values: Sequence[float] = ok.set_index("seed")[column].reindex(range(seeds)).tolist()
    return list(values)


def _to_reach(question: Question, seed: int, histories: Histories, per_seconds: bool) -> tuple[float, float]:
    """Epochs (or training seconds) until each run's validation loss is as low as the baseline's lowest.

    A treatment that never gets there counts all its epochs: it took at least so many.
    """
    treatment, baseline = histories.get((question.treatment, seed)), histories.get((question.baseline, seed))
    if treatment is None or baseline is None or treatment.empty or baseline.empty:
        return math.nan, math.nan
    target = baseline["val/loss"].min()
    return _cost_to_reach(treatment, target, per_seconds), _cost_to_reach(baseline, target, per_seconds)


def _cost_to_reach(history: pd.DataFrame, target: float, per_seconds: bool) -> float:
    reached = (history["val/loss"] <= target).to_numpy()
    epochs = int(reached.argmax()) + 1 if reached.any() else len(history)
    return float(history["train/seconds"].iloc[:epochs].sum()) if per_seconds else float(epochs)

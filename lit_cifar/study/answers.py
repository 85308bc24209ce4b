"""From rows to answers: what each question's paired runs say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from lit_cifar.study.looks import Look, looks_at_rounds, one_look
from lit_cifar.study.measures import MEASURES, Measure
from lit_cifar.study.paired import Histories, PairedValues, margin_of, measure_of, paired_values
from lit_cifar.study.schema import Question, Study
from lit_cifar.study.statistics import Estimate, estimate
from lit_cifar.study.verdicts import NOT_TIMED, Asked, Firmness, Verdict, judge


@dataclass(frozen=True)
class Answer:
    """A question with its verdict and both runs' values.

    Args:
        question: The question.
        verdict: The answer; diverged runs count as `paired_values` says.
        values: The values by seed.
        without_failed: The answer without the pairs of diverged runs; None if there are none.
        firmness: Whether it stands at other learning rates; None if that wasn't tried.
    """

    question: Question
    verdict: Verdict
    values: PairedValues
    without_failed: Verdict | None = None
    firmness: Firmness | None = None

    @property
    def measure(self) -> Measure:
        return measure_of(self.question)

    @property
    def baseline_measure(self) -> Measure:
        """What of the baseline is compared."""
        return MEASURES[self.question.baseline_measure or self.question.measure]

    @property
    def margin(self) -> float:
        return margin_of(self.question)

    @property
    def by_seeds(self) -> bool:
        """Whether its pairs are seeds; else they are rounds in which both runs were timed alone."""
        return self.measure.timed != "rounds"

    @property
    def pair(self) -> str:
        """What a pair is."""
        return "seed" if self.by_seeds else "round"

    @property
    def treatment(self) -> Estimate:
        return estimate(self.values.treatment, log=self.measure.scale == "ratio")

    @property
    def baseline(self) -> Estimate:
        return estimate(self.values.baseline, log=self.baseline_measure.scale == "ratio")


def answer_questions(
    study: Study,
    results: pd.DataFrame,
    histories: Histories,
    looks: Sequence[Look] | None = None,
    timings: pd.DataFrame | None = None,
) -> list[Answer]:
    """Answer every question of a study.

    Args:
        study: The study.
        results: One row for each run and seed.
        histories: The epochs of each run.
        looks: The looks that the study has taken; by default one after all its seeds.
        timings: The rounds in which runs were timed alone; without them, questions about seconds have no answer.
    """
    looks = one_look(study.most_seeds) if looks is None else looks
    seeds = looks[-1].seeds if looks else 0
    values = [paired_values(question, study, seeds, results, histories, timings) for question in study.questions]
    counted = _judge(study, values, looks)
    left_out = _judge(study, [value.without_failed() for value in values], looks)
    return [
        Answer(question, verdict, value, without if value.failed else None)
        for question, verdict, value, without in zip(study.questions, counted, values, left_out, strict=True)
    ]


def open_runs(answers: Sequence[Answer], *, pair: str = "seed") -> set[str]:
    """The names of the runs of questions without an answer that need more seeds, or with `pair="round"` more rounds."""
    unsettled = [
        answer.question
        for answer in answers
        if not answer.verdict.settled and answer.pair == pair and answer.verdict.answer != NOT_TIMED
    ]
    return {run for question in unsettled for run in (question.treatment, question.baseline)}


def answered(answers: Sequence[Answer]) -> str:
    """How many of the questions have an answer, in words: "5 of 9"."""
    return f"{sum(answer.verdict.settled for answer in answers)} of {len(answers)}"


def summarize(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each run: means of the finished runs with 95 % intervals, the number of seeds, failures."""
    rows = []
    for name, group in results.groupby("run", sort=False):
        rates = pd.to_numeric(group["lr"], errors="coerce").dropna()  # a failed run may not know its own
        row: dict[str, object] = {"run": name, "variant": group["variant"].iloc[0]}
        row["lr"] = rates.iloc[-1] if len(rates) else math.nan
        row |= {"seeds": len(group), "failed": int((group["status"] != "ok").sum())}
        for column, measure in MEASURES.items():
            if column in group and group[column].notna().any():
                found = estimate(group[column].tolist(), log=measure.scale == "ratio")
                row |= {column: found.mean, f"{column}_low": found.low, f"{column}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows)


def _judge(study: Study, values: Sequence[PairedValues], looks: Sequence[Look]) -> list[Verdict]:
    asked = [_asked(question, study, value) for question, value in zip(study.questions, values, strict=True)]
    return [
        replace(verdict, answer=NOT_TIMED) if MEASURES[question.measure].timed and not verdict.comparison.n else verdict
        for question, verdict in zip(study.questions, judge(asked, looks), strict=True)
    ]


def _asked(question: Question, study: Study, values: PairedValues) -> Asked:
    """A question as numbers. Rounds have looks of their own."""
    own_looks = None
    if MEASURES[question.measure].timed == "rounds":
        own_looks = looks_at_rounds(len(values.treatment), may_be_more=study.seeds == "auto")
    return Asked(values.pairs(question), question.kind, question.primary, own_looks)

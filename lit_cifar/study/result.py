"""Everything a study has found: what the tables, the figures and the report are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lit_cifar.evaluation import Evaluation
from lit_cifar.study.answers import Answer
from lit_cifar.study.artifacts import Examples
from lit_cifar.study.looks import Look
from lit_cifar.study.paired import Histories
from lit_cifar.study.schema import Study


@dataclass(frozen=True)
class StudyResult:
    """The outcome of a study.

    Args:
        study: What was asked, and under which protocol.
        results: One row for each run and seed, the columns of `results.csv`.
        summary: One row for each run: means over seeds and their 95 % intervals (`x`, `x_low`, `x_high`).
        answers: The questions with their verdicts.
        looks: The looks that were taken at the results.
        histories: Each run's epochs, by name and seed: columns epoch, train/loss, train/accuracy, train/seconds,
            val/loss, val/accuracy.
        searches: Each searched run's learning-rate curve, as `LearningRateCurve.to_dict` gives it.
        data_source: The name of the data, as it must stand beside every figure.
        command: What was typed.
        evaluations: What the test of each run has measured, by name and seed; runs of old folders have none.
        examples: Images with the predictions of a run with MC dropout, by the run's name.
    """

    study: Study
    results: pd.DataFrame
    summary: pd.DataFrame
    answers: Sequence[Answer]
    histories: Histories
    data_source: str
    command: str
    looks: Sequence[Look] = ()
    searches: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    evaluations: Mapping[tuple[str, int], Evaluation] = field(default_factory=dict)
    examples: Mapping[str, Examples] = field(default_factory=dict)

    @property
    def finished_histories(self) -> dict[tuple[str, int], pd.DataFrame]:
        """The epochs of the runs that didn't fail."""
        failed = self.results[self.results["status"] != "ok"]
        left_out = set(zip(failed["run"], failed["seed"], strict=True))
        return {key: epochs for key, epochs in self.histories.items() if key not in left_out and not epochs.empty}

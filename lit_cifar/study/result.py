"""Everything a study has found: what the tables, the figures and the report are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lit_cifar.evaluation import Evaluation
from lit_cifar.study.answers import Answer, open_runs
from lit_cifar.study.artifacts import Examples
from lit_cifar.study.looks import FIRST_ROUNDS, Look
from lit_cifar.study.paired import Histories, Varied
from lit_cifar.study.schema import Study


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The results of a study's runs, before its questions are answered.

    Args:
        study: What was asked, and under which protocol.
        results: One row for each run and seed, the columns of `results.csv`.
        histories: Each run's epochs, by name and seed: columns epoch, train/loss, train/accuracy, train/seconds,
            val/loss, val/accuracy.
        data_source: The name of the data, as it must stand beside every figure.
        command: What was typed.
        looks: The looks that were taken at the results.
        searches: Each searched run's learning-rate curve, as `LearningRateCurve.to_dict` gives it.
        varied: The runs that were repeated at other learning rates.
        timings: The rounds in which runs were timed alone: columns run, round, seconds_per_epoch, test_seconds,
            mc_test_seconds and cpu_share.
        evaluations: Test results of each run by name and seed. Runs of old folders have none.
        examples: Images with the predictions of a run with MC dropout, by the run's name.
        environment: The machine and the versions, by what they are.
    """

    study: Study
    results: pd.DataFrame
    histories: Histories
    data_source: str
    command: str
    looks: Sequence[Look] = ()
    searches: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    varied: Varied = field(default_factory=dict)
    timings: pd.DataFrame = field(default_factory=pd.DataFrame)
    evaluations: Mapping[tuple[str, int], Evaluation] = field(default_factory=dict)
    examples: Mapping[str, Examples] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def finished_histories(self) -> dict[tuple[str, int], pd.DataFrame]:
        """The epochs of the runs that didn't fail."""
        failed = self.results[self.results["status"] != "ok"]
        left_out = set(zip(failed["run"], failed["seed"], strict=True))
        return {key: epochs for key, epochs in self.histories.items() if key not in left_out and not epochs.empty}


@dataclass(frozen=True, kw_only=True)
class StudyResult(Findings):
    """The outcome of a study: what its runs have found, and the answers.

    Args:
        summary: One row for each run: means over seeds and their 95 % intervals (`x`, `x_low`, `x_high`).
        answers: The questions with their verdicts.
    """

    summary: pd.DataFrame
    answers: Sequence[Answer]

    @property
    def first_timings(self) -> pd.DataFrame:
        """The rounds that all timed runs have. Later ones, which some have, are of another hour of the machine."""
        return self.timings[self.timings["round"] < FIRST_ROUNDS] if len(self.timings) else self.timings

    @property
    def is_interim(self) -> bool:
        """Whether the study was stopped before it had an answer to every question or all its seeds."""
        seeds = self.looks[-1].seeds if self.looks else self.study.most_seeds
        wants_seeds = self.study.seeds != "auto" or bool(open_runs(self.answers))
        return wants_seeds and seeds < self.study.most_seeds

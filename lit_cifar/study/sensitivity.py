"""Whether an answer stands when a learning rate is half or twice the chosen one.

A learning rate is chosen from a few short runs, so another search might have chosen its neighbour. An answer is firm if
it has the same sign at half and at twice the rate of either run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from lit_cifar.study.answers import Answer
from lit_cifar.study.paired import Histories, paired_values
from lit_cifar.study.plan import RATE_FACTORS, Neighbour
from lit_cifar.study.schema import Study
from lit_cifar.study.verdicts import Asked, Firmness

Varied = Mapping[Neighbour, tuple[pd.DataFrame, Histories]]
"""The results and the epochs of the runs at other learning rates."""


def with_firmness(
    answers: Sequence[Answer], study: Study, results: pd.DataFrame, histories: Histories, varied: Varied
) -> list[Answer]:
    """The answers with their firmness, as far as their runs were repeated at other learning rates."""
    return [replace(answer, firmness=_firmness(answer, study, results, histories, varied)) for answer in answers]


def _firmness(
    answer: Answer, study: Study, results: pd.DataFrame, histories: Histories, varied: Varied
) -> Firmness | None:
    """The firmness of an answer; None if it has none, or if a run is missing at one of the rates."""
    runs = dict.fromkeys((answer.question.treatment, answer.question.baseline))
    seeds = min((_seeds_of(found, run) for found, _ in varied.values() for run in runs), default=0)
    if not answer.verdict.settled or not seeds or set(varied) != set(RATE_FACTORS):
        return None
    fails = []
    for run in runs:
        for neighbour, (found, epochs) in varied.items():
            swapped = pd.concat([results[results["run"] != run], found[found["run"] == run]])
            swapped_epochs = {**histories, **{key: value for key, value in epochs.items() if key[0] == run}}
            values = paired_values(answer.question, study, seeds, swapped, swapped_epochs)
            if not _same_sign(answer, Asked(values.pairs(answer.question), answer.question.kind)):
                fails.append(f"{RATE_WORDS[neighbour]} {run}'s learning rate")
    return Firmness(seeds, tuple(fails))


RATE_WORDS = {"half": "half", "double": "twice"}


def _seeds_of(found: pd.DataFrame, run: str) -> int:
    """The first seeds that a run has at another learning rate."""
    seeds = set(found.loc[found["run"] == run, "seed"]) if len(found) else set()
    return next(seed for seed in range(len(seeds) + 1) if seed not in seeds)


def _same_sign(answer: Answer, asked: Asked) -> bool:
    """Whether the mean gain is on that side of the answer's threshold on which the answer puts it."""
    gains = asked.pairs.gains()
    if not len(gains):
        return False
    if answer.verdict.answer == "no (less than the margin)":
        return bool(gains.mean() < asked.pairs.margin_as_gain(1))
    above = bool(gains.mean() > asked.pairs.margin_as_gain(asked.threshold))
    return above == (answer.verdict.answer != "worse")

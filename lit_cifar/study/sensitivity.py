"""Whether an answer stands when learning rates are half or twice the chosen ones.

A learning rate is chosen from a few short runs, so another search might have chosen its neighbor. An answer is firm if
the mean gain stays on its side of zero (or of the margin) at all nine combinations of half, once and twice the rates of
its two runs. This compares means of a few seeds; it is no test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import pandas as pd

from lit_cifar.study.answers import Answer
from lit_cifar.study.looks import first_seeds
from lit_cifar.study.paired import Histories, paired_values
from lit_cifar.study.plan import RATE_FACTORS, Neighbour
from lit_cifar.study.result import Findings
from lit_cifar.study.verdicts import Asked, Firmness

RATE_WORDS: Mapping[Neighbour, str] = {"half": "half", "double": "twice"}

Rates = Mapping[str, Neighbour | None]
"""Runs and at which of their learning rates; None is the chosen one."""


def with_firmness(answers: Sequence[Answer], findings: Findings) -> list[Answer]:
    """The answers with their firmness, as far as their runs were repeated at other learning rates."""
    return [replace(answer, firmness=_firmness(answer, findings)) for answer in answers]


def _firmness(answer: Answer, findings: Findings) -> Firmness | None:
    """The firmness of an answer; None if it has none, or if fewer seeds were repeated than the study wants."""
    question, varied = answer.question, findings.varied
    if not answer.verdict.settled or not answer.by_seeds or set(varied) != set(RATE_FACTORS):
        return None
    runs = list(dict.fromkeys((question.treatment, question.baseline)))
    seeds = min(_seeds_of(found, run) for found, _ in varied.values() for run in runs)
    wanted = min(max(1, findings.study.sensitivity), *(_seeds_of(findings.results, run) for run in runs))
    if not 0 < wanted <= seeds:
        return None
    combinations = [dict(zip(runs, rates, strict=True)) for rates in product((None, *RATE_FACTORS), repeat=len(runs))]
    fails = [_in_words(rates) for rates in combinations if not _stands(answer, findings, rates, seeds)]
    return Firmness(seeds, len(combinations), tuple(fails))


def _stands(answer: Answer, findings: Findings, rates: Rates, seeds: int) -> bool:
    """Whether the mean gain stays on the answer's side at some learning rates."""
    question, (results, histories) = answer.question, _swapped(findings, rates)
    values = paired_values(question, findings.study, seeds, results, histories, findings.timings)
    return _on_its_side(answer, Asked(values.pairs(question), question.kind))


def _swapped(findings: Findings, rates: Rates) -> tuple[pd.DataFrame, Histories]:
    """Results and epochs in which some runs are those at another learning rate."""
    results, histories = findings.results, dict(findings.histories)
    for run, rate in rates.items():
        if rate:
            found, epochs = findings.varied[rate]
            results = pd.concat([results[results["run"] != run], found[found["run"] == run]])
            histories |= {key: value for key, value in epochs.items() if key[0] == run}
    return results, histories


def _in_words(rates: Rates) -> str:
    """A combination: "half ELU's and twice SELU's learning rate"."""
    parts = [f"{RATE_WORDS[rate]} {run}'s" for run, rate in rates.items() if rate]
    return f"{' and '.join(parts)} learning rate" if parts else "the chosen learning rates"


def _seeds_of(found: pd.DataFrame, run: str) -> int:
    """How many of the first seeds a run has."""
    done = set(zip(found["run"], found["seed"], strict=True)) if len(found) else set()
    return first_seeds([run], done, at_most=len(done))


def _on_its_side(answer: Answer, asked: Asked) -> bool:
    """Whether the mean gain is on that side of the answer's threshold on which the answer puts it."""
    gains = asked.pairs.gains()
    if not len(gains):
        return False
    if answer.verdict.answer == "no (gain below the margin)":
        return bool(gains.mean() < asked.pairs.margin_as_gain(1))
    above = bool(gains.mean() > asked.pairs.margin_as_gain(asked.threshold))
    return above == (answer.verdict.answer != "no (worse)")

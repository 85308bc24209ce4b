"""The answers and the runs of a study as tables of text, for pages and notebooks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lit_cifar.study.answers import Answer
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.report.wording import count, effect_cell, margin_text, mean_cell
from lit_cifar.study.result import StudyResult

SCORES = ("test_acc", "selected_by_acc_test_acc", "test_nll", "test_ece", "mc_test_acc", "mc_test_nll", "mc_test_ece")
"""The scores of a run, where a study has them."""


def answers_table(answers: Sequence[Answer]) -> pd.DataFrame:
    """One row per question: the answer, the difference with its interval, and what it was measured by."""
    table = pd.DataFrame(
        {
            "question": [answer.question.ask for answer in answers],
            "answer": [answer.verdict.answer for answer in answers],
            "difference": [str(effect_cell(answer.measure, answer.verdict.comparison)) for answer in answers],
            "margin": [margin_text(answer.measure, answer.margin) for answer in answers],
            "pairs": [count(answer.verdict.comparison.n, answer.pair) for answer in answers],
            "at other rates": [_firmness(answer) for answer in answers],
            "measure": [answer.measure.label for answer in answers],
        }
    )
    was_tried = any(answer.firmness is not None for answer in answers)
    return table if was_tried else table.drop(columns="at other rates")


def _firmness(answer: Answer) -> str:
    if (firmness := answer.firmness) is None:
        return "–"
    return "firm" if firmness.firm else f"not firm (differs at {len(firmness.fails)} of {firmness.combinations})"


def runs_table(result: StudyResult) -> pd.DataFrame:
    """One row per run: its learning rate, its seeds, and the means of its scores with their intervals."""
    runs = result.summary.to_dict("records")
    table = pd.DataFrame(
        {
            "run": [str(row["run"]) for row in runs],
            "learning rate": [f"{row['lr']:.2g}" for row in runs],
            "seeds": [
                f"{row['seeds']} ({row['failed']} failed)" if row["failed"] else f"{row['seeds']}" for row in runs
            ],
        }
    )
    for column in (column for column in SCORES if column in result.summary):
        measure, values = MEASURES[column], result.results.groupby("run")[column]
        table[measure.label] = [str(mean_cell(measure, values.get_group(run).tolist())) for run in table["run"]]
    return table

"""Questions about what callbacks and losses log."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from lit_cifar.study.measures import MEASURES
from lit_cifar.study.paired import measure_of, paired_values
from lit_cifar.study.schema import Question, Study

ASKED = {"ask": "?", "treatment": "A", "baseline": "B", "measure": "mine/sharpness"}
RUNS = {name: {"model": {"variant": "ELU"}} for name in "AB"}


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_question_says_what_is_better(better: Any) -> None:
    question = Question(**ASKED, better=better, margin=0.5)
    study = Study(title="t", runs=RUNS, questions=[question])
    results = pd.DataFrame(
        {
            "run": [*"AABB"],
            "seed": [0, 1] * 2,
            "status": "ok",
            "reason": "",
            "classes": 10,
            "mine/sharpness": [1.0, 2.0, 3.0, 5.0],
        }
    )
    values = paired_values(question, study, 2, results, {})
    assert (values.treatment, values.baseline) == ([1.0, 2.0], [3.0, 5.0])
    pairs = values.pairs(question)
    assert (pairs.better, pairs.margin) == (better, 0.5)
    assert measure_of(question).label == "mine/sharpness"
    missing = paired_values(question, study, 2, results.drop(columns="mine/sharpness"), {})
    assert all(map(math.isnan, missing.treatment))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "mine/sharpness is a logged value: say `better: higher` or `lower`, and a `margin`"),
        ({"better": "lower"}, "and a `margin`"),
        ({"measure": "sharpness", "better": "lower", "margin": 1}, "unknown measure"),
        ({"measure": "test_acc", "better": "lower"}, "leave it out for test_acc"),
    ],
)
def test_mistakes_are_found_before_the_runs(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Question(**{**ASKED, **changes})


def test_only_logged_values_are_measures_beside_the_known_ones() -> None:
    assert "mine/sharpness" not in MEASURES
    with pytest.raises(KeyError):
        MEASURES["sharpness"]

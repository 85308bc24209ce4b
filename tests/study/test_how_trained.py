"""The report says how its runs were trained."""

from __future__ import annotations

import math

import pandas as pd

from lit_cifar.study.report.wording import how_trained


def test_runs_of_stacks_are_counted() -> None:
    found = how_trained(pd.DataFrame({"stack_size": [8, 4, math.nan]}))
    assert "2 of 3 runs were trained side by side as stacks of at most 8 replicas" in found
    assert how_trained(pd.DataFrame({"stack_size": [math.nan]})) == how_trained(pd.DataFrame({"seed": [0]})) == ""

"""Runs of the same values stand side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lit_cifar import figures
from tests.figures.made_up import LADDER, LAYERS, RESULTS, SEVERITIES, SOURCE, history


def same_for_two(results: pd.DataFrame) -> pd.DataFrame:
    """Results of two runs that don't differ."""
    last = results.iloc[[-1]]
    return pd.concat([last.assign(run="A"), last.assign(run="B")])


@pytest.mark.parametrize(
    ("draw", "axis"),
    [
        (lambda: figures.learning_curves({(run, 0): history([2.3, 2.3]) for run in "AB"}, SOURCE), 2),
        (lambda: figures.layers_by_depth({(run, 0): LAYERS["ELU", 0] for run in "AB"}, SOURCE), 0),
        (lambda: figures.accuracy_by_learning_rate({"short": dict.fromkeys("AB", LADDER)}, SOURCE), 0),
        (lambda: figures.accuracy_and_calibration_mc(same_for_two(RESULTS), SOURCE), 0),
        (lambda: figures.scores_by_severity(same_for_two(SEVERITIES), SOURCE), 0),
    ],
    ids=["learning curves", "layers", "learning rates", "mc dropout", "severity"],
)
def test_no_run_hides_another_one_of_the_same_values(draw: Callable[[], Figure], axis: int) -> None:
    thick = [line for line in draw().axes[axis].get_lines() if line.get_linewidth() >= 2]
    first, *others = [line.get_xydata() for line in thick]
    other = next(line for line in others if np.array_equal(line[:, 1], first[:, 1]))
    assert (first[:, 0] != other[:, 0]).all()

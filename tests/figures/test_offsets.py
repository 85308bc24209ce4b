"""Runs of the same values can be told apart."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lit_cifar import figures
from lit_cifar.uncertainty import reliability
from tests.figures.made_up import (
    LABELS,
    LADDER,
    LAYERS,
    PROBABILITIES,
    RESULTS,
    SAMPLES,
    SEVERITIES,
    SOURCE,
    history,
    risk_curve,
)


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
        (lambda: figures.accuracy_by_samples({"net": {"A": [SAMPLES], "B": [SAMPLES]}}, SOURCE), 0),
        (lambda: figures.accuracy_by_depth({"A": {5: [0.5], 10: [0.6]}, "B": {5: [0.5], 10: [0.6]}}, SOURCE), 0),
    ],
    ids=["learning curves", "layers", "learning rates", "mc dropout", "severity", "samples", "depth"],
)
def test_no_run_hides_another_one_of_the_same_values(draw: Callable[[], Figure], axis: int) -> None:
    thick = [line for line in draw().axes[axis].get_lines() if line.get_linewidth() >= 2]
    first, *others = [line.get_xydata() for line in thick]
    other = next(line for line in others if np.array_equal(line[:, 1], first[:, 1]))
    assert (first[:, 0] != other[:, 0]).all()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.risk_coverage({"net": {name: [risk_curve(PROBABILITIES)] for name in "ABC"}}, SOURCE),
        lambda: figures.reliability_diagram(
            {"net": {name: [reliability(PROBABILITIES, LABELS)] for name in "ABC"}}, SOURCE
        ),
    ],
    ids=["risk and coverage", "reliability"],
)
def test_equal_curves_are_drawn_from_wide_to_narrow(draw: Callable[[], Figure]) -> None:
    curves = [line for line in draw().axes[0].get_lines() if line.get_color() != "black"]
    assert len(curves) == 3
    assert all(np.array_equal(line.get_xydata(), curves[0].get_xydata()) for line in curves)
    widths = [line.get_linewidth() for line in curves]
    assert all(before - after >= 1 for before, after in itertools.pairwise(widths))

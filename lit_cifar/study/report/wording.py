"""Numbers of a study as a report's cells and words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lit_cifar.study.measures import Measure
from lit_cifar.study.report.page import Cell
from lit_cifar.study.statistics import Comparison, estimate

FEWEST_FOR_INTERVAL = 4
"""With fewer seeds, the values are shown instead of an interval."""

NO_BREAK = "\u00a0"
"""A space at which no line ends."""

MINUS = "−"
"""Longer than a hyphen, and never at the end of a line."""


def mean_cell(measure: Measure, values: Sequence[float]) -> Cell:
    """A mean over seeds with its 95 % interval; few seeds have no interval worth showing, but values."""
    found = estimate(values, log=measure.scale == "ratio")
    note = ""
    if found.n >= FEWEST_FOR_INTERVAL:
        low, high = max(found.low, 0.0), min(found.high, 1.0) if measure.percent else found.high
        note = f"[{measure.text(low)}, {measure.text(high)}]"
    elif found.n > 1:
        note = f"({', '.join(measure.text(value) for value in values if math.isfinite(value))})"
    return Cell(measure.text(found.mean), note.replace(" %", ""), found.mean if found.n else None)


def effect_cell(measure: Measure, comparison: Comparison) -> Cell:
    """A mean difference or ratio of paired runs with its interval."""
    mean, low, high = comparison.mean, comparison.low, comparison.high
    if comparison.scale == "difference" or mean != mean:
        return difference_cell(measure, mean, low, high)
    interval = f"[{_ratio(low)}, {_ratio(high)}]" if low == low else ""
    return Cell(f"× {_ratio(mean)}", interval, mean)


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.3g}"


def difference_cell(measure: Measure, mean: float, low: float, high: float) -> Cell:
    """A mean difference with its interval and its unit."""
    if mean != mean:
        return Cell("–")
    interval = f"[{signed(measure, low)}, {signed(measure, high)}]" if low == low else ""
    return Cell(f"{signed(measure, mean)}{unit(measure)}", interval, mean)


def signed(measure: Measure, value: float) -> str:
    """A difference with its sign."""
    text = f"{100 * value:+.2f}" if measure.percent else f"{value:+.{max(measure.digits, 1)}f}"
    return text.replace("-", MINUS)


def unit(measure: Measure) -> str:
    """The unit of a difference, after a space; a difference of percentages is in points."""
    name = "points" if measure.percent else measure.unit
    return f" {name}" if name else ""


def p_value(value: float) -> str:
    """A p-value to three digits."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(number: float, of: str) -> str:
    """A number of things: 1 seed, 2 seeds, 0.5 points."""
    return f"{number:g} {of}{'' if number == 1 else 's'}"


def pairs(mapping: Mapping[str, Any]) -> str:
    """Settings with their names."""
    return ", ".join(f"{key}: {value}" for key, value in mapping.items())


def suggestion(search: Mapping[str, Any]) -> str:
    """The suggestion of a range test, in words."""
    suggested = search["suggestion"]
    return "the range test suggests " + ("none" if suggested is None else f"{suggested:.2g}")


def margin_text(measure: Measure, margin: float) -> str:
    """A margin with its unit."""
    if measure.relative:
        return f"{100 * margin:.4g} %"
    return count(float(f"{100 * margin:.4g}"), "point") if measure.percent else f"{margin:.4g}"


def confidence(comparison: Comparison) -> str:
    """The confidence level of an interval, in percent."""
    return f"{100 * comparison.level:.4g} %"


def how_trained(results: pd.DataFrame) -> str:
    """A sentence on the runs that were trained in stacks; empty if there are none."""
    if "stack_size" not in results or not (stacked := int(results["stack_size"].notna().sum())):
        return ""
    return (
        f" {stacked} of {count(len(results), 'run')} were trained side by side as stacks of at most "
        f"{int(results['stack_size'].max())} replicas, so they have no training seconds of their own."
    )


QUIET = 0.95
"""The share of a core that a timed run has, if nothing else is at work."""


def how_timed(timings: pd.DataFrame) -> str:
    """A sentence on the rounds in which runs were timed; empty if there are none."""
    if timings.empty:
        return ""
    share, rounds = timings["cpu_share"].median(), timings["round"].nunique()
    quiet = "" if share >= QUIET else ": other programs were at work, so the times are too long"
    return (
        f" Seconds per epoch are those of runs that trained alone, in {count(rounds, 'round')}; they had {share:.0%} "
        f"of a core{quiet}. They are one machine's."
    )

"""Numbers of a study as a report's cells and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lit_cifar.study.answers import Answer
from lit_cifar.study.measures import MEASURES, Measure
from lit_cifar.study.report.page import Cell
from lit_cifar.study.statistics import Comparison, Estimate

MINUS = "−"
"""Longer than a hyphen, and never at the end of a line."""


def mean_cell(measure: Measure, mean: float, low: float, high: float) -> Cell:
    """A mean with its interval."""
    interval = f"[{measure.text(low)}, {measure.text(high)}]".replace(" %", "").replace("-", MINUS)
    return Cell(measure.text(mean), interval if low == low else "", mean if mean == mean else None)


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
    """The unit of a difference: of percentages it is in points."""
    return " points" if measure.percent else ""


def p_value(value: float) -> str:
    """A p-value to three digits."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(number: int, of: str) -> str:
    """A number of things: 1 seed, 2 seeds."""
    return f"{number} {of}{'' if number == 1 else 's'}"


def pairs(mapping: Mapping[str, Any]) -> str:
    """Settings with their names."""
    return ", ".join(f"{key}: {value}" for key, value in mapping.items())


def suggestion(search: Mapping[str, Any]) -> str:
    """What a range test says."""
    suggested = search["suggestion"]
    return "the range test suggests " + ("none" if suggested is None else f"{suggested:.2g}")


def bounds(of: Estimate | Comparison) -> tuple[float, float, float]:
    """The mean, or mean difference, and its interval."""
    return of.mean if isinstance(of, Estimate) else of.difference, of.low, of.high


def baseline_measure(answer: Answer) -> Measure:
    """What of the baseline is compared."""
    return MEASURES[answer.question.baseline_measure or answer.question.measure]

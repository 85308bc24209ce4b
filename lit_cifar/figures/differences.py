"""Figures of the differences that a study asks about, with their intervals."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lit_cifar.figures.canvas import VERDICT_COLORS, new_figure, plain, ratio_ticks

LINE_LENGTH = 64
"""Characters that fit into a line as wide as the figure."""

NOTHING = 1e-9
"""The reach of a question without any pair, or whose pairs don't differ."""

SIMILAR = 6
"""Differences that are so many times as large as others have axes of their own."""

LABEL_LINES = 2
"""Lines that a question's label may take."""

Scale = Literal["difference", "ratio"]
NO_EFFECT = {"difference": 0.0, "ratio": 1.0}
"""The difference, or ratio, of two equal values."""


@dataclass(frozen=True)
class PairedDifference:
    """The paired differences, or ratios, of one question: the treatment minus, or divided by, the baseline.

    Args:
        label: The question.
        unit: The measure and its unit. Questions with the same unit share axes.
        better: Which direction is better.
        mean: The mean difference, or the geometric mean of the ratios.
        low: The lower end of its interval; nan if there is none.
        high: The upper end.
        differences: The difference, or ratio, of each pair.
        verdict: The answer, a key of `VERDICT_COLORS`.
        margin: The smallest gain that matters, as a difference or ratio; nan if there is none.
        scale: Whether these are differences or ratios. Ratios are drawn on a logarithmic axis.
    """

    label: str
    unit: str
    better: Literal["higher", "lower"]
    mean: float
    low: float
    high: float
    differences: Sequence[float]
    verdict: str
    margin: float = math.nan
    scale: Scale = "difference"


def paired_differences(questions: Sequence[PairedDifference], data_source: str) -> Figure:
    """Draw a row for each question: each pair (dots), the mean with its interval, no effect and the margin.

    The better direction is to the right in every row; where lower is better the axis is reversed.
    """
    panels = _panels(questions)
    heights = [0.4 + sum(map(_height, rows)) for rows in panels]
    figure, axes = new_figure(
        "Paired differences: treatment against baseline",
        data_source,
        len(panels),
        1,
        0.6 + 0.75 * sum(heights) + 0.3 * len(panels),
        height_ratios=heights,
    )
    for ax, rows in zip(axes[:, 0], panels, strict=True):
        place = 0.0
        for question, label in reversed(rows):
            _difference(ax, place, question, label)
            place += _height((question, label))
        ax.set_ylim(-0.4, place - 0.25)
        first, _ = rows[0]
        _center(ax, max(_reach(question) for question, _ in rows), first.better, first.scale)
        ax.axvline(NO_EFFECT[first.scale], color="black", linewidth=1, zorder=0)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(textwrap.fill(f"{first.unit}; better\N{NO-BREAK SPACE}→", LINE_LENGTH))
    return plain(figure)


Row = tuple[PairedDifference, list[str]]
"""A question and the lines of its label."""


def _panels(questions: Sequence[PairedDifference]) -> list[list[Row]]:
    """The rows that share axes: those of the same unit whose differences are of a similar size."""
    panels: dict[tuple[str, str, str, float], list[Row]] = {}
    for number, question in enumerate(questions, 1):
        unit, own = (question.unit, question.better, question.scale), _reach(question)
        alike = (key for key in panels if key[:3] == unit and _are_similar(own, key[3]))
        row = question, _lines(f"Q{number}: {question.label}", LINE_LENGTH - len(question.verdict))
        panels.setdefault(next(alike, (*unit, own)), []).append(row)
    return list(panels.values())


def _are_similar(one: float, other: float) -> bool:
    return NOTHING in (one, other) or one / SIMILAR < other < one * SIMILAR


def _reach(question: PairedDifference) -> float:
    """How far from no effect anything of a question is drawn: the differences, or the logarithms of the ratios."""
    drawn = np.array([question.low, question.high, question.mean, question.margin, *question.differences])
    sizes = np.abs([*(np.log(drawn) if question.scale == "ratio" else drawn), NOTHING])
    return float(sizes[np.isfinite(sizes)].max())


def _lines(label: str, width: int) -> list[str]:
    return textwrap.wrap(label, width, max_lines=LABEL_LINES, placeholder=" …")


def _height(row: Row) -> float:
    return 1 + 0.28 * (len(row[1]) - 1)


def _difference(ax: Axes, height: float, question: PairedDifference, label: Sequence[str]) -> None:
    """Draw a question's row: a label above the dots, the mean, the interval and the margin."""
    color = VERDICT_COLORS[question.verdict]
    ax.plot(question.differences, [height] * len(question.differences), "o", color=color, alpha=0.35, markersize=5)
    ax.plot([question.low, question.high], [height, height], color=color, linewidth=3)
    ax.plot([question.margin] * 2, [height - 0.2, height + 0.2], color="black", linewidth=1, linestyle=":")
    ax.plot(question.mean, height, "D", color=color, markersize=9, markeredgecolor="white")
    beside: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "fontsize": 10.5, "va": "bottom"}
    ax.text(0, height + 0.24, "\n".join(label), **beside, bbox={"color": "white", "pad": 1})
    ax.text(1, height + 0.24, question.verdict, **beside, ha="right", color=color, weight="bold")


def _center(ax: Axes, reach: float, better: str, scale: Scale) -> None:
    """Put no effect into the middle of the x-axis, and what is better to the right."""
    limit = 1.08 * reach
    low, high = (math.exp(-limit), math.exp(limit)) if scale == "ratio" else (-limit, limit)
    if scale == "ratio":
        ax.set_xscale("log")
    ax.set_xlim((low, high) if better == "higher" else (high, low))
    if scale == "ratio":
        ratio_ticks(ax.xaxis)
    else:
        ax.xaxis.set_major_formatter(FuncFormatter(_signed))


def _signed(value: float, _: object) -> str:
    return f"{value:+.4g}".replace("-", "−") if value else "0"


@dataclass(frozen=True)
class ShrinkingInterval:
    """The interval of one question at each look.

    Args:
        label: The question.
        unit: The measure's unit.
        seeds: The number of pairs at each look.
        mean: The mean difference, or ratio, at each look.
        low: The lower end of its interval.
        high: The upper end.
        verdict: The answer at the end, a key of `VERDICT_COLORS`.
        margin: The smallest gain that matters, as a difference or ratio.
        scale: Whether these are differences or ratios. Ratios are drawn on a logarithmic axis.
    """

    label: str
    unit: str
    seeds: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    verdict: str
    margin: float
    scale: Scale = "difference"


def shrinking_intervals(questions: Sequence[ShrinkingInterval], data_source: str) -> Figure:
    """Draw for each question how the interval of its difference shrinks with the number of seeds."""
    columns = min(2, len(questions))
    rows = -(-len(questions) // columns)
    figure, axes = new_figure("Intervals at each look", data_source, rows, columns, 0.8 + 2.2 * rows)
    for ax, question in zip(axes.flat, questions, strict=False):
        _shrinking(ax, question)
    for ax in axes.flat[len(questions) :]:
        ax.remove()
    return plain(figure)


def _shrinking(ax: Axes, question: ShrinkingInterval) -> None:
    color = VERDICT_COLORS[question.verdict]
    places = range(len(question.seeds))
    if question.scale == "ratio":
        ax.set_yscale("log")
    ax.vlines(places, question.low, question.high, color=color, linewidth=3)
    ax.plot(places, question.mean, "D", color=color, markersize=6, markeredgecolor="white")
    ax.axhline(NO_EFFECT[question.scale], color="black", linewidth=1, zorder=0)
    if math.isfinite(question.margin):
        ax.axhline(question.margin, color="black", linewidth=1, linestyle=":", zorder=0)
    ax.set_xticks(places, [str(seeds) for seeds in question.seeds])
    ax.set_xlim(-0.5, max(0.5, len(question.seeds) - 0.5))
    if question.scale == "ratio":
        ratio_ticks(ax.yaxis)
    ax.set_title("\n".join(_lines(question.label, LINE_LENGTH // 2 - 2)), fontsize=10, loc="left")
    ax.set_xlabel("seeds", fontsize=10)
    ax.set_ylabel("\n".join(_lines(question.unit, 24)), fontsize=9.5)

"""Figures that compare the runs of a study."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lit_cifar.figures.canvas import (
    LINES,
    VERDICT_COLORS,
    Style,
    new_figure,
    offsets,
    percent,
    plain,
    run_styles,
    shortened,
    with_legend,
)

LABEL_LENGTH = 64
"""Characters that fit into a line as wide as the figure."""


@dataclass(frozen=True)
class PairedDifference:
    """The paired differences of one question, treatment minus baseline.

    Args:
        label: The question.
        unit: The measure and its unit. Questions with the same unit share axes.
        better: Which direction is better.
        mean: The mean difference.
        low: The lower end of its interval; nan if there is none.
        high: The upper end.
        differences: The difference for each seed.
        verdict: The answer, a key of `VERDICT_COLORS`.
        margin: The smallest gain that matters, as a difference; nan if there is none.
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


def paired_differences(questions: Sequence[PairedDifference], data_source: str) -> Figure:
    """Draw a row for each question: each seed's difference (dots), the mean with its interval, zero and the margin.

    The better direction is to the right in every row; where lower is better the axis is reversed.
    """
    units = list(dict.fromkeys((q.unit, q.better) for q in questions))
    rows = [[(n, q) for n, q in enumerate(questions, 1) if (q.unit, q.better) == unit] for unit in units]
    figure, axes = new_figure(
        "Paired differences: treatment minus baseline, by seed",
        data_source,
        len(units),
        1,
        0.6 + 0.75 * len(questions) + 0.6 * len(units),
        height_ratios=[len(row) + 0.4 for row in rows],
    )
    for ax, (unit, better), row in zip(axes[:, 0], units, rows, strict=True):
        for height, (number, question) in enumerate(reversed(row)):
            _difference(ax, height, number, question)
        ends = [[q.low, q.high, q.mean, q.margin, *q.differences] for _, q in row]
        sizes = np.abs([*np.concatenate(ends), 1e-9])
        limit = 1.08 * sizes[np.isfinite(sizes)].max()
        ax.set_xlim((-limit, limit) if better == "higher" else (limit, -limit))
        ax.set_ylim(-0.4, len(row) - 0.25)
        ax.axvline(0, color="black", linewidth=1, zorder=0)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_formatter(FuncFormatter(_signed))
        ax.set_xlabel(textwrap.fill(f"{unit}; better\N{NO-BREAK SPACE}→", LABEL_LENGTH))
    return plain(figure)


def _difference(ax: Axes, height: float, number: int, question: PairedDifference) -> None:
    """Draw a question's row: a label above the dots, the mean, the interval and the margin."""
    color = VERDICT_COLORS[question.verdict]
    ax.plot(question.differences, [height] * len(question.differences), "o", color=color, alpha=0.35, markersize=5)
    ax.plot([question.low, question.high], [height, height], color=color, linewidth=3)
    ax.plot([question.margin] * 2, [height - 0.2, height + 0.2], color="black", linewidth=1, linestyle=":")
    ax.plot(question.mean, height, "D", color=color, markersize=9, markeredgecolor="white")
    label = shortened(f"Q{number}: {question.label}", LABEL_LENGTH - len(question.verdict))
    beside: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "fontsize": 10.5, "va": "bottom"}
    ax.text(0, height + 0.24, label, **beside, bbox={"color": "white", "pad": 1})
    ax.text(1, height + 0.24, question.verdict, **beside, ha="right", color=color, weight="bold")


def _signed(value: float, _: object) -> str:
    return f"{value:+.4g}".replace("-", "−") if value else "0"


@dataclass(frozen=True)
class ShrinkingInterval:
    """The interval of one question at each look.

    Args:
        label: The question.
        unit: The measure and its unit.
        seeds: The number of pairs at each look.
        mean: The mean difference at each look.
        low: The lower end of its interval.
        high: The upper end.
        verdict: The answer at the end, a key of `VERDICT_COLORS`.
        margin: The smallest gain that matters, as a difference.
    """

    label: str
    unit: str
    seeds: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    verdict: str
    margin: float


def shrinking_intervals(questions: Sequence[ShrinkingInterval], data_source: str) -> Figure:
    """Draw for each question how the interval of its difference shrinks with the number of seeds."""
    columns = min(2, len(questions))
    rows = -(-len(questions) // columns)
    title = "Intervals at each look"
    figure, axes = new_figure(title, data_source, rows, columns, 0.8 + 2.1 * rows)
    for ax, question in zip(axes.flat, questions, strict=False):
        _shrinking(ax, question)
    for ax in axes.flat[len(questions) :]:
        ax.remove()
    return plain(figure)


def _shrinking(ax: Axes, question: ShrinkingInterval) -> None:
    color = VERDICT_COLORS[question.verdict]
    places = range(len(question.seeds))
    ax.vlines(places, question.low, question.high, color=color, linewidth=3)
    ax.plot(places, question.mean, "D", color=color, markersize=6, markeredgecolor="white")
    ax.axhline(0, color="black", linewidth=1, zorder=0)
    if math.isfinite(question.margin):
        ax.axhline(question.margin, color="black", linewidth=1, linestyle=":", zorder=0)
    ax.set_xticks(places, [str(seeds) for seeds in question.seeds])
    ax.set_xlim(-0.5, max(0.5, len(question.seeds) - 0.5))
    ax.set_title(shortened(question.label, 28), fontsize=10.5, loc="left")
    ax.set_xlabel("seeds", fontsize=10)
    ax.set_ylabel(shortened(question.unit, 24), fontsize=9.5)


def accuracy_and_calibration_mc(results: pd.DataFrame, data_source: str, *, runs: Sequence[str] = ()) -> Figure:
    """Draw test accuracy and calibration error of one pass without dropout and of the mean of MC samples.

    Args:
        results: Rows of a study's results with the columns run, test_acc, mc_test_acc, test_ece and mc_test_ece; rows
            without MC samples are left out.
        data_source: Name of the data.
        runs: All runs of the study, whose order determines the colors.
    """
    kept = results.dropna(subset=["test_acc", "mc_test_acc", "test_ece", "mc_test_ece"])
    styles = run_styles(runs, kept["run"])
    figure, axes = new_figure("What MC dropout changes on test images", data_source, 1, 2, 3.9)
    for ax, column, label in zip(
        axes[0],
        ("test_acc", "test_ece"),
        ("accuracy (higher is better)", "ECE (lower is better)"),
        strict=True,
    ):
        for name, shift in offsets(styles, 0.06).items():
            pairs, ways = kept.loc[kept["run"] == name, [column, f"mc_{column}"]].to_numpy(), [shift, 1 + shift]
            ax.plot(ways, pairs.T, color=styles[name]["color"], linewidth=0.8, alpha=0.4)
            ax.plot(ways, pairs.mean(axis=0), **styles[name], linewidth=2.5, marker="o", markersize=7)
        ax.set_title(label, fontsize=11, loc="left")
        ax.set_xticks([0, 1], ["one pass,\nno dropout", "mean of\nMC samples"])
        ax.set_xlim(-0.25, 1.25)
        ax.grid(axis="x", visible=False)
    axes[0, 0].yaxis.set_major_formatter(FuncFormatter(percent))
    return with_legend(figure, styles, "thick: mean of all seeds · thin: each seed")


def scores_by_severity(results: pd.DataFrame, data_source: str, *, runs: Sequence[str] = ()) -> Figure:
    """Draw accuracy, NLL and ECE over the severity of corruption: solid without MC dropout, dashed with it.

    Args:
        results: Rows of a study's results with the columns run, test_acc, test_severity_1_acc and so on, and the same
            with mc_ before them.
        data_source: Name of the data.
        runs: All runs of the study, whose order determines the colors.
    """
    means = results.groupby("run", sort=False).mean(numeric_only=True)
    styles = run_styles(runs, means.index)
    figure, axes = new_figure("When the test images are corrupted", data_source, 1, 3, 3.6)
    for ax, (score, label) in zip(axes[0], {"acc": "accuracy", "nll": "NLL", "ece": "ECE"}.items(), strict=True):
        for prefix, line in (("test", "-"), ("mc_test", "--")):
            columns = [f"{prefix}_{score}", *(f"{prefix}_severity_{severity}_{score}" for severity in range(1, 6))]
            if set(columns) <= set(means):
                for name, shift in offsets(styles, 0.2).items():
                    scores = means.loc[name, columns].to_numpy()
                    ax.plot(np.arange(6) + shift, scores, line, color=styles[name]["color"], linewidth=2, marker="o")
        ax.set_title(label, fontsize=11, loc="left")
        ax.set_xlabel("severity")
        ax.set_xticks(range(6))
    axes[0, 0].yaxis.set_major_formatter(FuncFormatter(percent))
    return with_legend(figure, styles, "solid: one pass, no dropout · dashed: mean of MC samples")


def accuracy_by_zeros(results: pd.DataFrame, data_source: str, *, runs: Sequence[str] = ()) -> Figure:
    """Draw test accuracy over the share of zero weights: a point for each seed, a larger one for the mean of a run.

    Args:
        results: Rows of a study's results with the columns run, zeros and test_acc.
        data_source: Name of the data.
        runs: All runs of the study, whose order determines the colors.
    """
    kept = results.dropna(subset=["zeros", "test_acc"])
    styles = run_styles(runs, kept["run"])
    figure, ((ax,),) = new_figure("Accuracy against the share of zeros", data_source, 1, 1, 4.2)
    for name, style in styles.items():
        points = kept.loc[kept["run"] == name, ["zeros", "test_acc"]].to_numpy(float)
        ax.plot(*points.T, "o", color=style["color"], markersize=4, alpha=0.4)
        ax.plot(*points.mean(axis=0), **_point(style))
    ax.set(xlabel="share of weights that are zero", ylabel="test accuracy")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(percent))
    return with_legend(figure, styles, "diamond: mean of all seeds · points: each seed", look=_point)


def _point(style: Style) -> dict[str, Any]:
    """A diamond; an open one for runs whose lines would be dashed."""
    color = style["color"]
    filled = color if style["linestyle"] == LINES[0] else "white"
    return {"color": color, "marker": "D", "markersize": 9, "linestyle": "none", "markerfacecolor": filled}

"""Figures that compare the scores of a study's runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lit_cifar.figures.canvas import (
    LINES,
    Style,
    new_figure,
    offsets,
    percent,
    run_styles,
    with_legend,
)


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
        means = means_by_run(kept, [column, f"mc_{column}"])
        for name, shift in offsets(styles, 0.06).items():
            pairs, ways = kept.loc[kept["run"] == name, [column, f"mc_{column}"]].to_numpy(), [shift, 1 + shift]
            ax.plot(ways, pairs.T, color=styles[name]["color"], linewidth=0.8, alpha=0.4)
            ax.plot(ways, means.loc[name], **styles[name], linewidth=2.5, marker="o", markersize=7)
        ax.set_title(label, fontsize=11, loc="left")
        ax.set_xticks([0, 1], ["one pass,\nno dropout", "mean of\nMC samples"])
        ax.set_xlim(-0.25, 1.25)
        ax.grid(axis="x", visible=False)
    axes[0, 0].yaxis.set_major_formatter(FuncFormatter(percent))
    return with_legend(figure, styles, "thick: mean of all seeds · thin: each seed")


def means_by_run(results: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Means of columns over the seeds of each run, as tables have them: of losses and errors, geometric ones.

    Args:
        results: Rows of a study's results.
        columns: Scores; the names of accuracies end with `acc`.
    """
    means = {column: "mean" if column.endswith("acc") else _geometric_mean for column in columns}
    return results.groupby("run", sort=False).agg(means)


def _geometric_mean(values: pd.Series) -> float:
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(values).mean()))


def scores_by_severity(results: pd.DataFrame, data_source: str, *, runs: Sequence[str] = ()) -> Figure:
    """Draw accuracy, NLL and ECE over the severity of corruption: solid without MC dropout, dashed with it.

    Args:
        results: Rows of a study's results with the columns run, test_acc, test_severity_1_acc and so on, and the same
            with mc_ before them.
        data_source: Name of the data.
        runs: All runs of the study, whose order determines the colors.
    """
    styles = run_styles(runs, results["run"].unique())
    figure, axes = new_figure("When the test images are corrupted", data_source, 1, 3, 3.6)
    for ax, (score, label) in zip(axes[0], {"acc": "accuracy", "nll": "NLL", "ece": "ECE"}.items(), strict=True):
        for prefix, line in (("test", "-"), ("mc_test", "--")):
            columns = [f"{prefix}_{score}", *(f"{prefix}_severity_{severity}_{score}" for severity in range(1, 6))]
            if set(columns) <= set(results):
                means = means_by_run(results, columns)
                for name, shift in offsets(styles, 0.2).items():
                    scores = means.loc[name].to_numpy()
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

"""Figures of trainings: learning curves and learning-rate searches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lit_cifar.figures.canvas import (
    Floats,
    Style,
    log_x,
    mean_and_range,
    new_figure,
    offsets,
    percent,
    plain,
    run_styles,
    seeds_by_run,
    shortened,
    whole_ticks,
    with_legend,
)


def learning_curves(
    histories: Mapping[tuple[str, int], pd.DataFrame], data_source: str, *, runs: Sequence[str] = ()
) -> Figure:
    """Draw validation loss and accuracy of all runs over epochs and over training time.

    A run's line is the mean over its seeds and its band is their range, up to the epoch in which the first seed stops.
    After that epoch, the remaining seeds are drawn one by one, because their mean would be over other seeds.

    Args:
        histories: Each run's epochs, by name and seed: columns epoch, train/seconds, val/loss and val/accuracy.
        data_source: Name of the data.
        runs: All runs of the study, whose order determines the colors.
    """
    by_run = seeds_by_run(histories)
    styles = run_styles(runs, by_run)
    title = "Learning curves on validation images"
    figure, axes = new_figure(title, data_source, 2, 2, 6.6, sharex="col", sharey="row")
    shifts = offsets(by_run, 0.3)
    for name, seeds in by_run.items():
        for row, column in zip(axes, ("val/loss", "val/accuracy"), strict=True):
            _mean_then_single_seeds(row[0], seeds, _epochs, column, styles[name], shifts[name])
            _mean_then_single_seeds(row[1], seeds, _seconds, column, styles[name])
    losses = np.concatenate([history["val/loss"] for seeds in by_run.values() for history in seeds])
    axes[0, 0].set_ylabel(f"validation loss{_cut_off(axes[0, 0], losses, 2 * np.nanmedian(losses))}")
    axes[1, 0].set_ylabel("validation accuracy")
    axes[1, 0].yaxis.set_major_formatter(FuncFormatter(percent))
    axes[1, 0].set_xlabel("epoch")
    whole_ticks(axes[1, 0].xaxis)
    axes[1, 1].set_xlabel("seconds of training")
    note = "line: mean of all seeds · band: from lowest to highest · thin: seeds that go on alone"
    return with_legend(figure, styles, note if max(map(len, by_run.values())) > 1 else "one seed a run")


def learning_rate_curves(
    searches: Mapping[str, Mapping[str, Any]], data_source: str, *, runs: Sequence[str] = ()
) -> Figure:
    """Draw each run's range test with its losses, smoothed losses and suggestion, and the short runs that confirm it.

    Args:
        searches: For each run, the content of `lr_find.json`, or of `LearningRateCurve.to_dict`, which has no short
            runs.
        data_source: Name of the data.
        runs: All runs of the study, whose order determines the colors.
    """
    columns = min(2, len(searches))
    rows = -(-len(searches) // columns)
    figure, axes = new_figure(
        "Learning-rate searches", data_source, rows, columns, 1 + 2.3 * rows, sharex=True, sharey=True
    )
    styles = run_styles(runs, searches)
    panels = list(axes.flat)
    for ax, (name, search) in zip(panels, searches.items(), strict=False):
        _search(ax, name, search, styles[name]["color"])
    for ax in panels[len(searches) :]:
        ax.remove()
    for ax in panels[len(searches) - columns : len(searches)]:
        ax.tick_params(labelbottom=True)
    losses = np.concatenate([[*search["losses"], *_short_runs(search)[1]] for search in searches.values()])
    cut = _cut_off(axes[0, 0], losses, 2 * np.nanmedian(losses) - np.nanmin(losses))
    figure.supxlabel("learning rate (dashed: suggestion; squares: short runs, their validation loss)", fontsize=10)
    figure.supylabel(f"training loss{cut}", fontsize=11)
    return plain(figure)


def accuracy_by_learning_rate(
    panels: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], data_source: str, *, runs: Sequence[str] = ()
) -> Figure:
    """Draw validation accuracies over the learning rate: mean and range of the seeds.

    Args:
        panels: For each panel's title, the ladder of each run: rungs with `learning_rate` and `val_accuracies` of
            equally many seeds, with the chosen rate first.
        data_source: Name of the data.
        runs: All runs of the study, whose order determines the colors.
    """
    shown = {title: ladders for title, ladders in panels.items() if ladders}
    title = "Accuracy against the learning rate"
    figure, axes = new_figure(title, data_source, len(shown), 1, 1 + 3.2 * len(shown), sharex=True)
    styles = run_styles(runs, [name for ladders in shown.values() for name in ladders])
    for ax, (panel, ladders) in zip(axes[:, 0], shown.items(), strict=True):
        ax.set_title(panel, fontsize=11, loc="left")
        ax.set_ylabel("validation accuracy")
        ax.yaxis.set_major_formatter(FuncFormatter(percent))
        shifts = offsets(ladders, 0.08)
        for name, ladder in ladders.items():
            _ladder(ax, ladder, styles[name], 1 + shifts[name])  # the axis is logarithmic
    axes[-1, 0].set_xlabel("learning rate")
    log_x(axes[-1, 0])
    return with_legend(figure, styles, "line: mean of the seeds · band: from lowest to highest · large dot: chosen")


def _ladder(ax: Axes, ladder: Sequence[Mapping[str, Any]], style: Style, factor: float) -> None:
    rungs = sorted(ladder, key=lambda rung: float(rung["learning_rate"]))
    rates = factor * np.asarray([rung["learning_rate"] for rung in rungs])
    accuracies = np.asarray([rung["val_accuracies"] for rung in rungs]).T
    mean_and_range(ax, rates, accuracies, style, marker="o", markersize=4)
    chosen = ladder[0]
    ax.plot(
        factor * chosen["learning_rate"], np.mean(chosen["val_accuracies"]), "o", color=style["color"], markersize=11
    )


def _epochs(history: pd.DataFrame) -> Floats:
    return history["epoch"].to_numpy(float) + 1


def _seconds(history: pd.DataFrame) -> Floats:
    return history["train/seconds"].to_numpy(float).cumsum()


def _mean_then_single_seeds(
    ax: Axes,
    seeds: Sequence[pd.DataFrame],
    x_of: Callable[[pd.DataFrame], Floats],
    column: str,
    style: Style,
    shift: float = 0.0,
) -> None:
    common = min(map(len, seeds))
    x = np.mean([x_of(seed)[:common] for seed in seeds], axis=0) + shift
    values = np.stack([seed[column].to_numpy(float)[:common] for seed in seeds])
    mean_and_range(ax, x, values, style, marker="o" if common == 1 else None)
    for seed in seeds:
        ax.plot(x_of(seed)[common - 1 :] + shift, seed[column].iloc[common - 1 :], **style, linewidth=0.7, alpha=0.5)


def _cut_off(ax: Axes, losses: Floats, top: float) -> str:
    """Limit the y-axis if a loss explodes. Returns a note for the label of the axis."""
    if np.nanmax(losses) <= top:
        return ""
    low = float(np.nanmin(losses))
    ax.set_ylim(low - 0.05 * (top - low), top)
    return " (cut off)"


def _search(ax: Axes, name: str, search: Mapping[str, Any], color: str) -> None:
    ax.plot(search["learning_rates"], search["losses"], ".", color=color, alpha=0.3, markersize=4)
    ax.plot(search["learning_rates"], search["smoothed"], color=color, linewidth=2)
    if search["suggestion"] is not None:
        ax.axvline(search["suggestion"], color="black", linewidth=1, linestyle="--")
    rates, losses = _short_runs(search)
    ax.plot(rates, losses, "s", color=color, markersize=6, markerfacecolor="white")
    ax.plot(rates[:1], losses[:1], "s", color=color, markersize=6)
    chosen = search.get("learning_rate", search["suggestion"])
    ax.set_title(f"{shortened(name, 24)}: {'none' if chosen is None else f'{chosen:.2g}'}", fontsize=11, loc="left")
    log_x(ax)


def _short_runs(search: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Learning rates and validation losses of the short runs with finite losses, the best first."""
    runs = [run for run in search.get("confirm_runs", ()) if run["val_loss"] is not None]
    return [run["learning_rate"] for run in runs], [run["val_loss"] for run in runs]

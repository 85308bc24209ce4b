"""Accuracy against the depth of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from lit_cifar.figures.canvas import new_figure, offsets, percent, run_styles, with_legend


def accuracy_by_depth(families: Mapping[str, Mapping[int, Sequence[float]]], data_source: str) -> Figure:
    """Draw a line for each family of networks: the mean accuracy over the depth, and a band that holds all seeds.

    Args:
        families: By the family's name, the accuracy of each seed for each number of hidden layers.
        data_source: The name of the data.
    """
    styles = run_styles((), families)
    figure, ((ax,),) = new_figure("Accuracy against depth", data_source, 1, 1, 4.2)
    for name, shift in offsets(families, 0.08).items():
        depths = np.array(sorted(families[name]))
        seeds = [families[name][depth] for depth in depths]
        x, low, high = (1 + shift) * depths, list(map(min, seeds)), list(map(max, seeds))  # the axis is logarithmic
        ax.fill_between(x, low, high, color=styles[name]["color"], alpha=0.18)
        ax.plot(x, list(map(np.mean, seeds)), **styles[name], linewidth=2, marker="o")
    ax.set(xlabel="hidden layers", ylabel="test accuracy", xscale="log")
    ticks = sorted({depth for by_depth in families.values() for depth in by_depth})
    ax.set_xticks(ticks, [str(depth) for depth in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(percent))
    return with_legend(figure, styles, "line: mean of all seeds · band: lowest to highest")

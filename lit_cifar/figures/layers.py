"""Figures of a network's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import CenteredNorm, LogNorm, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lit_cifar.figures.canvas import (
    Floats,
    log_ticks,
    new_figure,
    offsets,
    percent,
    plain,
    run_styles,
    seeds_by_run,
    whole_ticks,
    with_legend,
)

DECADES = 2
"""The smallest range of a logarithmic color scale, so that small differences don't look large."""


def layer_statistics(
    values: npt.ArrayLike,
    layers: Sequence[str],
    statistic: str,
    data_source: str,
    *,
    ideal: float | None = None,
    log: bool = False,
) -> Figure:
    """Draw one statistic of every layer over the epochs, as a heat map.

    Args:
        values: The statistic [layers, epochs], from the first epoch on.
        layers: Names of the layers, starting at the input, whose layer is drawn at the bottom.
        statistic: Name of the statistic, such as "mean of activations".
        data_source: Name of the data.
        ideal: The value of a healthy layer, drawn white. Without it, colors range from zero to the highest value.
        log: Whether the color scale is logarithmic. It then spans at least two decades, and zeros are white.
    """
    grid = np.asarray(values, dtype=float)
    figure, ((ax,),) = new_figure(f"Layers: {statistic}", data_source, 1, 1, 1.6 + 0.2 * max(len(layers), 8))
    norm = _centered(grid, ideal) if ideal is not None else _logarithmic(grid) if log else _from_zero(grid)
    cmap = "viridis" if ideal is None else "PuOr_r"
    extent = (0.5, grid.shape[1] + 0.5, -0.5, len(layers) - 0.5)
    image = ax.imshow(grid, cmap=cmap, norm=norm, aspect="auto", origin="lower", interpolation="nearest", extent=extent)
    ax.set_yticks(range(len(layers)), layers, fontsize=9)
    whole_ticks(ax.xaxis)
    ax.set_xlabel("epoch")
    ax.grid(visible=False)
    figure.colorbar(image, label=statistic)
    return plain(figure)


def _from_zero(grid: Floats) -> Normalize:
    low, high = min(0.0, float(np.nanmin(grid))), float(np.nanmax(grid))
    return Normalize(low, high if high > low else 1.0)


def _logarithmic(grid: Floats) -> Normalize:
    positive = grid[grid > 0]
    if not positive.size:
        return _from_zero(grid)
    low, high = float(positive.min()), float(positive.max())
    return LogNorm(min(low, high / 10**DECADES), high)


def _centered(grid: Floats, ideal: float) -> Normalize:
    """A color scale that is white at the ideal. If no value is negative, the scale starts at zero."""
    reach = max(float(np.nanmax(np.abs(grid - ideal))), 1e-9)
    if ideal > 0 and np.nanmin(grid) >= 0:
        return TwoSlopeNorm(ideal, vmin=max(0.0, ideal - reach), vmax=ideal + reach)
    return CenteredNorm(ideal, reach)


PROFILES = {
    "layer_mean": "mean of activations",
    "layer_std": "standard deviation",
    "layer_gradient_rms": "gradient (root mean square)",
    "layer_dead": "share of dead units",
}
"""The statistics that `layers_by_depth` draws, as prefixes of logged names."""

FORMER_PROFILES = {
    "layer_mean": "mean of activations",
    "layer_std": "standard deviation",
    "layer_gradient_norm": "gradient norm of the whole layer",
    "layer_dead": "share of dead units",
}
"""The same for runs of older versions, which have logged another gradient."""


def layers_by_depth(
    histories: Mapping[tuple[str, int], pd.DataFrame], data_source: str, *, runs: Sequence[str] = ()
) -> Figure:
    """Draw activations and gradients of each layer in each run's best epoch, as means over seeds.

    Args:
        histories: Each run's epochs, by name and seed: columns val/loss and, from LayerStatistics, layer_mean/<layer>
            and so on. Runs of older versions have the gradient's norm: it is drawn if no run has the root mean square.
        data_source: Name of the data.
        runs: All runs of the study, whose order determines the colors.
    """
    by_run = seeds_by_run(histories)
    styles = run_styles(runs, by_run)
    figure, axes = new_figure("Layers at the best epoch, from input to output", data_source, 2, 2, 6.0, sharex=True)
    shifts = offsets(by_run, 0.3)
    for ax, (prefix, label) in zip(axes.flat, _profiles(histories).items(), strict=True):
        for name, shift in shifts.items():
            known = [values for history in by_run[name] if (values := _layer_values(history, prefix)).size]
            profile = np.mean(known, axis=0) if known else np.empty(0)
            ax.plot(
                np.arange(1, len(profile) + 1) + shift, profile, **styles[name], linewidth=2, marker="o", markersize=3
            )
        ax.set_title(label, fontsize=11, loc="left")
        whole_ticks(ax.xaxis)
    for ax in (axes[0, 1], axes[1, 0]):
        ax.set_yscale("log")
        log_ticks(ax.yaxis)
    highest = axes[1, 1].get_ylim()[1]
    axes[1, 1].set_ylim(-0.04 * highest, highest)  # no share is below 0; a line along 0 is still seen
    axes[1, 1].yaxis.set_major_formatter(FuncFormatter(percent))
    for ax in axes[1]:
        ax.set_xlabel("layer (the last is the output)")
    return with_legend(figure, styles)


def _profiles(histories: Mapping[tuple[str, int], pd.DataFrame]) -> Mapping[str, str]:
    has_former = any(history.columns.str.startswith("layer_gradient_norm/").any() for history in histories.values())
    has_current = any(history.columns.str.startswith("layer_gradient_rms/").any() for history in histories.values())
    return FORMER_PROFILES if has_former and not has_current else PROFILES


def _layer_values(history: pd.DataFrame, prefix: str) -> Floats:
    best = history.iloc[int(history["val/loss"].argmin())]
    return best[best.index.str.startswith(f"{prefix}/")].to_numpy(float)

"""Figures of uncertainty: calibration, risk and coverage, MC samples and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lit_cifar.figures.canvas import (
    BAD,
    Style,
    log_x,
    mean_and_range,
    nested_widths,
    new_figure,
    offsets,
    percent,
    plain,
    run_styles,
    shortened,
    show_image,
    with_legend,
)

if TYPE_CHECKING:
    from torch import Tensor

    from lit_cifar.uncertainty import Reliability, SampleCurve


@dataclass(frozen=True, eq=False)
class Example:
    """An image, uint8 [3, H, W], with its true class, the predicted class, and the probability of that class."""

    image: Tensor
    label: str
    prediction: str
    confidence: float


@dataclass(frozen=True, eq=False)
class RiskCurve:
    """The error rate [K] among the most certain images, for shares [K] of all images; and its mean."""

    coverage: npt.ArrayLike
    risk: npt.ArrayLike
    aurc: float


Curve = TypeVar("Curve")

Panels = Mapping[str, Mapping[str, Sequence[Curve]]]
"""Panels by network. Each has curves by the name of what predicts, one curve for each seed."""


def reliability_diagram(panels: Panels[Reliability], data_source: str) -> Figure:
    """Draw accuracy over confidence, with the diagonal of a calibrated network, and the distribution of confidence.

    The images of all seeds are pooled; the ECE is the mean over seeds.

    Args:
        panels: Images binned by confidence.
        data_source: Name of the data.
    """
    rows, columns = _grid(len(panels))
    figure, axes = new_figure(
        "Reliability",
        data_source,
        2 * rows,
        columns,
        1.0 + PANEL_HEIGHT[columns] * rows,
        sharex=True,
        sharey="row",
        height_ratios=[3, 1] * rows,
    )
    styles = _names(panels)
    for upper, lower, (network, curves) in zip(axes[::2].flat, axes[1::2].flat, panels.items(), strict=False):
        upper.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle=":")
        for name, width in nested_widths(curves).items():
            _reliability(upper, lower, curves[name], styles[name], width)
        _panel(upper, network)
    _only(axes[::2], len(panels), ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    for lowest in _only(axes[1::2], len(panels), ylabel="images"):
        _label_below(lowest, "confidence")
    for ax in axes[:, 0]:
        ax.yaxis.set_major_formatter(FuncFormatter(percent))
    return with_legend(figure, styles)


def _reliability(upper: Axes, lower: Axes, seeds: Sequence[Reliability], style: Style, width: float) -> None:
    count, confidence, accuracy = (
        np.array([np.asarray(getattr(seed, what), float) for seed in seeds])
        for what in ("count", "confidence", "accuracy")
    )
    gaps = np.nansum(count * np.abs(confidence - accuracy), axis=1) / count.sum(axis=1)
    total = count.sum(axis=0)
    full, weight = total > 0, count / np.maximum(total, 1)
    together = [np.nansum(weight * values, axis=0)[full] for values in (confidence, accuracy)]
    upper.plot(*together, **style, linewidth=width, marker="o", markersize=2 * width, label=f"ECE {gaps.mean():.3f}")
    lower.stairs(total / total.sum(), [0, *np.asarray(seeds[0].upper, float)], **style, linewidth=width)


def risk_coverage(panels: Panels[RiskCurve], data_source: str) -> Figure:
    """Draw the error rate among the most certain images over their share of all images, as means over seeds.

    Args:
        panels: The curves, by the uncertainty that ranks the images.
        data_source: Name of the data.
    """
    rows, columns = _grid(len(panels))
    title, height = "Error rate among the most certain images", 1.2 + 0.8 * PANEL_HEIGHT[columns] * rows
    figure, axes = new_figure(title, data_source, rows, columns, height, sharex=True, sharey=True)
    styles, top = _names(panels), 0.01
    for ax, (network, curves) in zip(axes.flat, panels.items(), strict=False):
        for name, width in nested_widths(curves).items():
            seeds = curves[name]
            coverage, risk = np.asarray(seeds[0].coverage, float), np.array([seed.risk for seed in seeds], float)
            aurc = np.mean([seed.aurc for seed in seeds])
            mean_and_range(ax, coverage, risk, styles[name], width=width, label=f"mean {aurc:.3f}")
            top = max(top, risk[:, coverage >= 0.05].max())  # the rates of the first few images jump between 0 and 1
        _panel(ax, network)
    for lowest in _only(axes, len(panels), ylabel="error rate", xlim=(0, 1), ylim=(0, 1.05 * top)):
        _label_below(lowest, "most certain images")
    for axis in (axes[0, 0].xaxis, axes[0, 0].yaxis):
        axis.set_major_formatter(FuncFormatter(percent))
    return with_legend(figure, styles)


def accuracy_by_samples(panels: Panels[SampleCurve], data_source: str) -> Figure:
    """Draw accuracy and negative log-likelihood of the mean of the first MC samples over their number.

    Lines are means over seeds, bands are their range.

    Args:
        panels: The scores for different numbers of samples.
        data_source: Name of the data.
    """
    rows = len(panels)
    figure, axes = new_figure("What more MC samples buy", data_source, rows, 2, 1.2 + 1.9 * rows, sharex=True)
    styles = _names(panels)
    for row, (network, curves) in zip(axes, panels.items(), strict=True):
        for ax, score in zip(row, ("accuracy", "nll"), strict=True):
            for name, shift in offsets(curves, 0.1).items():
                samples = (1 + shift) * np.array(curves[name][0].samples)  # the axis is logarithmic
                values = np.array([getattr(seed, score) for seed in curves[name]])
                mean_and_range(ax, samples, values, styles[name], marker="o", markersize=4)
        row[0].set(ylabel="accuracy")
        row[0].set_title(shortened(network, 40), fontsize=11, loc="left")
        row[0].yaxis.set_major_formatter(FuncFormatter(percent))
        row[1].set(ylabel="NLL")
    for ax in axes[-1]:
        ax.set(xlabel="MC samples")
        log_x(ax)
    return with_legend(figure, styles)


PANEL_HEIGHT = {1: 4.6, 2: 3.4}
"""Height of a panel in inches, by number of columns."""


def _grid(panels: int) -> tuple[int, int]:
    """Numbers of rows and columns for this many panels."""
    columns = min(panels, 2)
    return -(-panels // columns), columns


def _names(panels: Panels[Any]) -> dict[str, Style]:
    """The style of each kind of prediction, the same in every panel."""
    names = [name for curves in panels.values() for name in curves]
    return run_styles(names, names)


def _panel(ax: Axes, network: str) -> None:
    ax.set_title(shortened(network, 30), fontsize=11, loc="left")
    ax.legend(frameon=False, fontsize=9, handlelength=1.2, borderpad=0)


def _only(axes: npt.NDArray[Any], panels: int, *, ylabel: str, **limits: Any) -> list[Axes]:
    """Remove axes without a panel and label those on the left. Returns the lowest axes of each column."""
    shown, columns = list(axes.flat)[:panels], axes.shape[1]
    for ax in list(axes.flat)[panels:]:
        ax.remove()
    for ax in shown:
        ax.set(**limits)
    for ax in shown[::columns]:
        ax.set(ylabel=ylabel)
    return shown[-columns:]


def _label_below(ax: Axes, what: str) -> None:
    ax.set(xlabel=what)
    ax.tick_params(labelbottom=True)


def examples(rows: Mapping[str, Sequence[Example]], title: str, data_source: str) -> Figure:
    """Draw images with their true and predicted classes. Wrong predictions have the color of a "no".

    Args:
        rows: Images by the title of their row.
        title: Title of the figure.
        data_source: Name of the data.
    """
    columns = max([1, *map(len, rows.values())])
    figure, axes = new_figure(title, data_source, len(rows), columns, 0.7 + 1.65 * len(rows))
    for row, (name, shown) in zip(axes, rows.items(), strict=True):
        for ax, example in zip(row, shown, strict=False):
            _example(ax, example)
        for ax in row:
            ax.set_axis_off()
        words = name if shown else f"{name}: none"
        row[0].text(
            0, 1.04, words, transform=row[0].transAxes, fontsize=11, weight="bold", va="bottom", in_layout=False
        )
    return plain(figure)


def _example(ax: Axes, example: Example) -> None:
    show_image(ax, example.image.numpy())
    right = example.prediction == example.label
    says = f"{shortened(example.prediction, 12)} {100 * example.confidence:.0f} %"
    words = says if right else f"{says}\nis {shortened(example.label, 12)}"
    color = "black" if right else BAD
    # not part of the layout: long words would push the images apart
    ax.text(0, -0.04, words, transform=ax.transAxes, fontsize=8, va="top", color=color, in_layout=False)

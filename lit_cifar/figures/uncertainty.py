"""Pictures of what a network's probabilities are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lit_cifar.figures.canvas import (
    VERDICT_COLORS,
    log_x,
    new_figure,
    percent,
    plain,
    run_styles,
    shortened,
    with_legend,
)

if TYPE_CHECKING:
    from torch import Tensor

    from lit_cifar.uncertainty import Reliability, SampleCurve


@dataclass(frozen=True, eq=False)
class Example:
    """An image, uint8 [3, H, W], with its class, the class it is taken for, and how probable that is held to be."""

    image: Tensor
    label: str
    prediction: str
    confidence: float


def reliability_diagram(curves: Mapping[str, Reliability], data_source: str) -> Figure:
    """Accuracy over confidence (a calibrated network is on the diagonal), and how many images have which confidence.

    Args:
        curves: Images binned by confidence, by the name of what predicted them.
        data_source: The name of the data.
    """
    figure, axes = new_figure("Reliability", data_source, 2, 1, 6.2, sharex=True, height_ratios=[3, 1])
    (upper,), (lower,) = axes
    upper.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle=":")
    styles = run_styles(curves, curves)
    for name, curve in curves.items():
        count, confidence, accuracy = (np.asarray(a, float) for a in (curve.count, curve.confidence, curve.accuracy))
        full, share = count > 0, count / count.sum()
        ece = np.sum(share[full] * np.abs(confidence - accuracy)[full])
        upper.plot(confidence[full], accuracy[full], **styles[name], marker="o", label=f"{name}: ECE {ece:.3f}")
        lower.stairs(share, [0, *np.asarray(curve.upper, float)], **styles[name], linewidth=2)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    lower.set(xlabel="confidence", ylabel="share of images")
    upper.legend(frameon=False)
    return plain(figure)


def risk_coverage(curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], data_source: str) -> Figure:
    """The error rate among the most certain images, over their share of all images.

    Args:
        curves: Coverage [N] and risk [N], by the name of what ranked the images.
        data_source: The name of the data.
    """
    figure, ((ax,),) = new_figure("Error rate among the most certain images", data_source, 1, 1, 4.4)
    styles, top = run_styles(curves, curves), 0.01
    for name, curve in curves.items():
        coverage, risk = (np.asarray(values, float) for values in curve)
        ax.plot(coverage, risk, **styles[name], linewidth=2, label=f"{name}: mean {risk.mean():.3f}")
        top = max(top, risk[coverage >= 0.05].max())  # the first few images jump between 0 and 1
    ax.set(xlabel="share of the images, most certain first", ylabel="error rate", xlim=(0, 1), ylim=(0, 1.05 * top))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(percent))
    ax.legend(frameon=False)
    return plain(figure)


def accuracy_by_samples(curves: Mapping[str, SampleCurve], data_source: str) -> Figure:
    """What more MC samples buy: accuracy and negative log-likelihood of the mean of the first samples.

    Args:
        curves: The scores for several numbers of samples, by the name of what predicted.
        data_source: The name of the data.
    """
    figure, axes = new_figure("What more MC samples buy", data_source, 1, 2, 3.8)
    styles = run_styles(curves, curves)
    for name, curve in curves.items():
        for ax, values in zip(axes[0], (curve.accuracy, curve.nll), strict=True):
            ax.plot(curve.samples, values, **styles[name], linewidth=2, marker="o")
            ax.set_xlabel("MC samples")
            log_x(ax)
    axes[0, 0].yaxis.set_major_formatter(FuncFormatter(percent))
    axes[0, 0].set_title("accuracy", fontsize=11, loc="left")
    axes[0, 1].set_title("negative log-likelihood", fontsize=11, loc="left")
    return with_legend(figure, styles)


def examples(rows: Mapping[str, Sequence[Example]], title: str, data_source: str) -> Figure:
    """Images with what they are and what they are taken for; a wrong answer is in the colour of a "no".

    Args:
        rows: The images of each row, by what they have in common.
        title: What is shown.
        data_source: The name of the data.
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
    ax.imshow(example.image.permute(1, 2, 0).numpy(), interpolation="nearest")
    right = example.prediction == example.label
    says = f"{shortened(example.prediction, 12)} {100 * example.confidence:.0f} %"
    words = says if right else f"{says}\nis {shortened(example.label, 12)}"
    color = "black" if right else VERDICT_COLORS["no"]
    # not in the layout: long words must not push the images apart
    ax.text(0, -0.04, words, transform=ax.transAxes, fontsize=8, va="top", color=color, in_layout=False)

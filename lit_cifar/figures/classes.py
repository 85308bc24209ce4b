"""Figures of the classes that a network predicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lit_cifar.figures.canvas import COLORS, WIDTH, Floats, new_figure, percent, plain, shortened, show_image


def confusion_matrix(matrix: npt.ArrayLike, class_names: Sequence[str], data_source: str) -> Figure:
    """Draw the confusion matrix in percent of the images of each true class.

    Args:
        matrix: Number of images [true class, predicted class].
        class_names: Names of the classes, in the order of the labels.
        data_source: Name of the data.
    """
    share = _shares_of_rows(np.asarray(matrix, dtype=float))
    figure, ((ax,),) = new_figure("Confusion matrix", data_source, 1, 1, WIDTH + 0.4)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(class_names) <= 20:
        for (true, predicted), value in np.ndenumerate(share):
            color = "white" if value > 0.5 else "black"
            ax.text(predicted, true, f"{100 * value:.0f}", ha="center", va="center", color=color, fontsize=10)
    ax.set_xticks(range(len(class_names)), class_names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(class_names)), class_names)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.set_title("in percent of the true class", fontsize=11, loc="left")
    ax.grid(visible=False)
    return plain(figure)


def _shares_of_rows(counts: Floats) -> Floats:
    """Each number as a share of its row; 0 in an empty row."""
    shares: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def class_accuracy(matrix: npt.ArrayLike, class_names: Sequence[str], data_source: str) -> Figure:
    """Draw the accuracy of each class, and name the class that it is most often confused with.

    Args:
        matrix: Number of images [true class, predicted class].
        class_names: Names of the classes, in the order of the labels.
        data_source: Name of the data.
    """
    counts = np.asarray(matrix, dtype=float)
    share = _shares_of_rows(counts)
    right = share.diagonal()
    wrong = share - np.diag(right)
    figure, ((ax,),) = new_figure("Accuracy of each class", data_source, 1, 1, 1.6 + 0.32 * len(class_names))
    rows = range(len(class_names))
    ax.barh(rows, right, color=COLORS[0], height=0.7)
    overall = counts.trace() / max(counts.sum(), 1)
    ax.axvline(overall, color="black", linewidth=1, linestyle="--", zorder=0)
    for row in rows:
        rival = shortened(class_names[int(wrong[row].argmax())], 16)
        taken_for = f"; {100 * wrong[row].max():.0f} % {rival}" if wrong[row].any() else ""
        ax.text(right[row] + 0.01, row, f"{100 * right[row]:.0f} %{taken_for}", va="center", fontsize=10)
    ax.set_yticks(rows, class_names)
    ax.set(xlim=(0, 1.35), ylim=(len(class_names) - 0.5, -0.5))
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.xaxis.set_major_formatter(FuncFormatter(percent))
    ax.set_xlabel("right, and what most of the others are taken for")
    ax.set_title(f"all classes together: {100 * overall:.1f} % (dashed)", fontsize=11, loc="left")
    ax.grid(visible=False)
    return plain(figure)


def worst_errors(
    images: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    data_source: str,
    *,
    count: int = 24,
) -> Figure:
    """Draw the misclassified images whose true class has the lowest probability, the lowest first.

    Args:
        images: uint8 images [N, 3, height, width].
        probabilities: Class probabilities [N, classes].
        labels: True classes [N].
        class_names: Names of the classes, in the order of the labels.
        data_source: Name of the data.
        count: Maximum number of images to show.
    """
    p, truth = np.asarray(probabilities, dtype=float), np.asarray(labels)
    predicted, rows = p.argmax(axis=1), np.arange(len(truth))
    order = np.argsort(p[rows, truth], kind="stable")
    worst = [index for index in order if predicted[index] != truth[index]][:count]
    columns = 6
    lines = max(1, -(-len(worst) // columns))
    figure, axes = new_figure("Worst errors: true class → prediction", data_source, lines, columns, 0.7 + 1.35 * lines)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, index in zip(axes.flat, worst, strict=False):
        show_image(ax, np.asarray(images)[index])
        true, wrong = (shortened(class_names[label], 11) for label in (truth[index], predicted[index]))
        ax.set_title(f"{true} →\n{wrong} {100 * p[index, predicted[index]]:.0f} %", fontsize=8.5)
    return plain(figure)

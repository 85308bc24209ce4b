"""Every picture, once: TensorBoard and the report call the same functions.

Each takes data and gives a matplotlib `Figure` that belongs to no window and to no global state, so any thread can draw
it, on machines without a display too. Every title names the data source. Runs have the same colours in every figure
that is given the same `runs`. Tensors must be on the CPU.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import CenteredNorm, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

if TYPE_CHECKING:
    from torch import Tensor

    from lit_cifar.uncertainty import Reliability, SampleCurve

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#B8860B", "#000000")
"""Okabe and Ito's palette for all kinds of colour vision, without its yellow, which white swallows."""

LineStyle = Literal["-", "--", ":", "-."]
LINES: tuple[LineStyle, ...] = ("-", "--", ":", "-.")
"""When the colours are used up they come again in the next of these."""

VERDICT_COLORS = {"yes": "#00734F", "no": "#B34700", "can't tell": "#5A5A5A"}

WIDTH = 6.2
"""Inches: with 11 points for text, what a phone shows at its full width can still be read."""

Floats = npt.NDArray[np.float64]


class _Style(TypedDict):
    color: str
    linestyle: LineStyle


@dataclass(frozen=True)
class PairedDifference:
    """What one question's pairs of runs show, treatment minus baseline.

    Args:
        label: What is compared with what.
        unit: What is measured, in which unit; questions with the same unit share an axis.
        better: Which direction is the good one.
        mean: The mean difference.
        low: The lower end of its 95 % interval; nan if there is none.
        high: The upper end.
        differences: The difference for each seed.
        verdict: `yes`, `no` or `can't tell`.
    """

    label: str
    unit: str
    better: Literal["higher", "lower"]
    mean: float
    low: float
    high: float
    differences: Sequence[float]
    verdict: str


@dataclass(frozen=True, eq=False)
class Example:
    """An image, uint8 [3, H, W], with its class, the class it is taken for, and how probable that is held to be."""

    image: Tensor
    label: str
    prediction: str
    confidence: float


def learning_curves(
    histories: Mapping[tuple[str, int], pd.DataFrame], data_source: str, *, runs: Sequence[str] = ()
) -> Figure:
    """Validation loss and accuracy of all runs over epochs and over training seconds.

    A run's line is the mean over its seeds, its band their range, both only as far as all of its seeds train: beyond
    that the mean would be one over whichever seeds happened to go on. Those are drawn one by one.

    Args:
        histories: Each run's epochs, by name and seed: columns epoch, train/seconds, val/loss and val/accuracy.
        data_source: The name of the data.
        runs: All runs of the study, in order: they decide the colours.
    """
    by_run = _by_run(histories)
    styles = _styles(runs, by_run)
    figure, axes = _figure("Learning curves on validation images", data_source, 2, 2, 6.6, sharex="col", sharey="row")
    for name, seeds in by_run.items():
        for row, column in zip(axes, ("val/loss", "val/accuracy"), strict=True):
            _mean_and_range(row[0], seeds, _epochs, column, styles[name])
            _mean_and_range(row[1], seeds, _seconds, column, styles[name])
    losses = np.concatenate([history["val/loss"] for seeds in by_run.values() for history in seeds])
    axes[0, 0].set_ylabel(f"validation loss{_cut_off(axes[0, 0], losses, 2 * np.nanmedian(losses))}")
    axes[1, 0].set_ylabel("validation accuracy")
    axes[1, 0].yaxis.set_major_formatter(FuncFormatter(_percent))
    axes[1, 0].set_xlabel("epoch")
    axes[1, 0].xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes[1, 1].set_xlabel("seconds of training")
    note = "line: mean of all seeds · band: from lowest to highest · thin: seeds that go on alone"
    return _with_legend(figure, styles, note if max(map(len, by_run.values())) > 1 else "one seed a run")


def learning_rate_curves(
    searches: Mapping[str, Mapping[str, Any]], data_source: str, *, runs: Sequence[str] = ()
) -> Figure:
    """Each run's learning-rate range test: losses (dots), smoothed (line) and what they suggest; then the short runs.

    Args:
        searches: The content of `lr_find.json` by the run's name, or what `LearningRateCurve.to_dict` gives: without
            short runs.
        data_source: The name of the data.
        runs: All runs of the study, in order: they decide the colours.
    """
    columns = min(2, len(searches))
    rows = -(-len(searches) // columns)
    figure, axes = _figure(
        "Learning-rate searches", data_source, rows, columns, 1 + 2.3 * rows, sharex=True, sharey=True
    )
    styles = _styles(runs, searches)
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
    return _plain(figure)


def paired_differences(questions: Sequence[PairedDifference], data_source: str) -> Figure:
    """A row for each question: every seed's difference (dots), their mean with its 95 % interval, and zero.

    The better direction is to the right in every row; where lower is better the axis is turned round.
    """
    units = list(dict.fromkeys((q.unit, q.better) for q in questions))
    rows = [[(n, q) for n, q in enumerate(questions, 1) if (q.unit, q.better) == unit] for unit in units]
    figure, axes = _figure(
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
        ends = [[q.low, q.high, q.mean, *q.differences] for _, q in row]
        limit = 1.08 * np.nanmax(np.abs([*np.concatenate(ends), 1e-9]))
        ax.set_xlim((-limit, limit) if better == "higher" else (limit, -limit))
        ax.set_ylim(-0.4, len(row) - 0.25)
        ax.axvline(0, color="black", linewidth=1, zorder=0)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_formatter(FuncFormatter(_signed))
        ax.set_xlabel(f"{unit}; better →")
    return _plain(figure)


def accuracy_and_calibration_mc(results: pd.DataFrame, data_source: str, *, runs: Sequence[str] = ()) -> Figure:
    """Test accuracy and calibration error of one pass without dropout and of the mean of MC samples.

    Args:
        results: Rows of a study's results with the columns run, test_acc, mc_test_acc, test_ece and mc_test_ece; rows
            without MC samples are left out.
        data_source: The name of the data.
        runs: All runs of the study, in order: they decide the colours.
    """
    kept = results.dropna(subset=["test_acc", "mc_test_acc", "test_ece", "mc_test_ece"])
    styles = _styles(runs, kept["run"])
    figure, axes = _figure("What MC dropout changes on test images", data_source, 1, 2, 3.9)
    for ax, column, label in zip(
        axes[0],
        ("test_acc", "test_ece"),
        ("accuracy (higher is better)", "ECE (lower is better)"),
        strict=True,
    ):
        for name in styles:
            pairs = kept.loc[kept["run"] == name, [column, f"mc_{column}"]].to_numpy()
            ax.plot([0, 1], pairs.T, color=styles[name]["color"], linewidth=0.8, alpha=0.4)
            ax.plot([0, 1], pairs.mean(axis=0), **styles[name], linewidth=2.5, marker="o", markersize=7)
        ax.set_title(label, fontsize=11, loc="left")
        ax.set_xticks([0, 1], ["one pass,\nno dropout", "mean of\nMC samples"])
        ax.set_xlim(-0.25, 1.25)
        ax.grid(axis="x", visible=False)
    axes[0, 0].yaxis.set_major_formatter(FuncFormatter(_percent))
    return _with_legend(figure, styles, "thick: mean of all seeds · thin: each seed")


def scores_by_severity(results: pd.DataFrame, data_source: str, *, runs: Sequence[str] = ()) -> Figure:
    """Accuracy, NLL and ECE on test images that are more and more corrupted: solid without, dashed with MC dropout.

    Args:
        results: Rows of a study's results with the columns run, test_acc, test_severity_1_acc and so on, and the same
            with mc_ before them.
        data_source: The name of the data.
        runs: All runs of the study, in order: they decide the colours.
    """
    means = results.groupby("run", sort=False).mean(numeric_only=True)
    styles = _styles(runs, means.index)
    figure, axes = _figure("When the test images are corrupted", data_source, 1, 3, 3.6)
    for ax, (score, label) in zip(axes[0], {"acc": "accuracy", "nll": "NLL", "ece": "ECE"}.items(), strict=True):
        for prefix, line in (("test", "-"), ("mc_test", "--")):
            columns = [f"{prefix}_{score}", *(f"{prefix}_severity_{severity}_{score}" for severity in range(1, 6))]
            if set(columns) <= set(means):
                for name in styles:
                    scores = means.loc[name, columns].to_numpy()
                    ax.plot(range(6), scores, line, color=styles[name]["color"], linewidth=2, marker="o")
        ax.set_title(label, fontsize=11, loc="left")
        ax.set_xlabel("severity")
        ax.set_xticks(range(6))
    axes[0, 0].yaxis.set_major_formatter(FuncFormatter(_percent))
    return _with_legend(figure, styles, "solid: one pass, no dropout · dashed: mean of MC samples")


def reliability_diagram(curves: Mapping[str, Reliability], data_source: str) -> Figure:
    """Accuracy over confidence (a calibrated network is on the diagonal), and how many images have which confidence.

    Args:
        curves: Images binned by confidence, by the name of what predicted them.
        data_source: The name of the data.
    """
    figure, axes = _figure("Reliability", data_source, 2, 1, 6.2, sharex=True, height_ratios=[3, 1])
    (upper,), (lower,) = axes
    upper.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle=":")
    styles = _styles(curves, curves)
    for name, curve in curves.items():
        count, confidence, accuracy = (np.asarray(a, float) for a in (curve.count, curve.confidence, curve.accuracy))
        full, share = count > 0, count / count.sum()
        ece = np.sum(share[full] * np.abs(confidence - accuracy)[full])
        upper.plot(confidence[full], accuracy[full], **styles[name], marker="o", label=f"{name}: ECE {ece:.3f}")
        lower.stairs(share, [0, *np.asarray(curve.upper, float)], **styles[name], linewidth=2)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    lower.set(xlabel="confidence", ylabel="share of images")
    upper.legend(frameon=False)
    return _plain(figure)


def risk_coverage(curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], data_source: str) -> Figure:
    """The error rate among the most certain images, over their share of all images.

    Args:
        curves: Coverage [N] and risk [N], by the name of what ranked the images.
        data_source: The name of the data.
    """
    figure, ((ax,),) = _figure("Error rate among the most certain images", data_source, 1, 1, 4.4)
    styles, top = _styles(curves, curves), 0.01
    for name, curve in curves.items():
        coverage, risk = (np.asarray(values, float) for values in curve)
        ax.plot(coverage, risk, **styles[name], linewidth=2, label=f"{name}: mean {risk.mean():.3f}")
        top = max(top, risk[coverage >= 0.05].max())  # the first few images jump between 0 and 1
    ax.set(xlabel="share of the images, most certain first", ylabel="error rate", xlim=(0, 1), ylim=(0, 1.05 * top))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(_percent))
    ax.legend(frameon=False)
    return _plain(figure)


def accuracy_by_samples(curves: Mapping[str, SampleCurve], data_source: str) -> Figure:
    """What more MC samples buy: accuracy and negative log-likelihood of the mean of the first samples.

    Args:
        curves: The scores for several numbers of samples, by the name of what predicted.
        data_source: The name of the data.
    """
    figure, axes = _figure("What more MC samples buy", data_source, 1, 2, 3.8)
    styles = _styles(curves, curves)
    for name, curve in curves.items():
        for ax, values in zip(axes[0], (curve.accuracy, curve.nll), strict=True):
            ax.plot(curve.samples, values, **styles[name], linewidth=2, marker="o")
            ax.set_xlabel("MC samples")
            _log_x(ax)
    axes[0, 0].yaxis.set_major_formatter(FuncFormatter(_percent))
    axes[0, 0].set_title("accuracy", fontsize=11, loc="left")
    axes[0, 1].set_title("negative log-likelihood", fontsize=11, loc="left")
    return _with_legend(figure, styles)


def examples(rows: Mapping[str, Sequence[Example]], title: str, data_source: str) -> Figure:
    """Images with what they are and what they are taken for; a wrong answer is in the colour of a "no".

    Args:
        rows: The images of each row, by what they have in common.
        title: What is shown.
        data_source: The name of the data.
    """
    columns = max([1, *map(len, rows.values())])
    figure, axes = _figure(title, data_source, len(rows), columns, 0.7 + 1.65 * len(rows))
    for row, (name, shown) in zip(axes, rows.items(), strict=True):
        for ax, example in zip(row, shown, strict=False):
            _example(ax, example)
        for ax in row:
            ax.set_axis_off()
        words = name if shown else f"{name}: none"
        row[0].text(
            0, 1.04, words, transform=row[0].transAxes, fontsize=11, weight="bold", va="bottom", in_layout=False
        )
    return _plain(figure)


def _example(ax: Axes, example: Example) -> None:
    ax.imshow(example.image.permute(1, 2, 0).numpy(), interpolation="nearest")
    right = example.prediction == example.label
    says = f"{_short(example.prediction, 12)} {100 * example.confidence:.0f} %"
    words = says if right else f"{says}\nis {_short(example.label, 12)}"
    color = "black" if right else VERDICT_COLORS["no"]
    # not in the layout: long words must not push the images apart
    ax.text(0, -0.04, words, transform=ax.transAxes, fontsize=8, va="top", color=color, in_layout=False)


def layer_statistics(
    values: npt.ArrayLike, layers: Sequence[str], statistic: str, data_source: str, *, ideal: float | None = None
) -> Figure:
    """A heat map of one statistic of every layer over the epochs.

    Args:
        values: The statistic [layers, epochs], from the first epoch on.
        layers: The layers' names, from the input on; the input's layer is drawn at the bottom.
        statistic: What is shown: "mean of activations".
        data_source: The name of the data.
        ideal: The value that is as it should be, drawn white; without it colours go from zero to the highest.
    """
    grid = np.asarray(values, dtype=float)
    figure, ((ax,),) = _figure(f"Layers: {statistic}", data_source, 1, 1, 1.6 + 0.2 * max(len(layers), 8))
    if ideal is None:
        low, high = min(0.0, float(np.nanmin(grid))), float(np.nanmax(grid))
        colors = {"cmap": "viridis", "norm": Normalize(low, high if high > low else 1.0)}
    else:
        colors = {"cmap": "PuOr_r", "norm": _centered(grid, ideal)}
    extent = (0.5, grid.shape[1] + 0.5, -0.5, len(layers) - 0.5)
    image = ax.imshow(grid, **colors, aspect="auto", origin="lower", interpolation="nearest", extent=extent)
    ax.set_yticks(range(len(layers)), layers, fontsize=9)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set_xlabel("epoch")
    ax.grid(visible=False)
    figure.colorbar(image, label=statistic)
    return _plain(figure)


PROFILES = {
    "layer_mean": "mean of activations",
    "layer_std": "standard deviation",
    "layer_gradient_norm": "gradient norm",
    "layer_dead": "share of dead units",
}
"""What `layers_by_depth` draws of each layer: prefixes of logged names."""


def layers_by_depth(
    histories: Mapping[tuple[str, int], pd.DataFrame], data_source: str, *, runs: Sequence[str] = ()
) -> Figure:
    """Activations and gradients of every layer, from the input on, at each run's best epoch: means over its seeds.

    Args:
        histories: Each run's epochs, by name and seed: columns val/loss and, from LayerStatistics, layer_mean/<layer>
            and so on.
        data_source: The name of the data.
        runs: All runs of the study, in order: they decide the colours.
    """
    by_run = _by_run(histories)
    styles = _styles(runs, by_run)
    figure, axes = _figure("Layers at the best epoch, from input to output", data_source, 2, 2, 6.0, sharex=True)
    for ax, (prefix, label) in zip(axes.flat, PROFILES.items(), strict=True):
        for name, seeds in by_run.items():
            profile = np.mean([_layer_values(history, prefix) for history in seeds], axis=0)
            ax.plot(range(1, len(profile) + 1), profile, **styles[name], linewidth=2, marker="o", markersize=3)
        ax.set_title(label, fontsize=11, loc="left")
        ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    for ax in (axes[0, 1], axes[1, 0]):
        ax.set_yscale("log")
        _log_ticks(ax.yaxis)
    axes[1, 1].yaxis.set_major_formatter(FuncFormatter(_percent))
    for ax in axes[1]:
        ax.set_xlabel("layer (the last is the output)")
    return _with_legend(figure, styles)


def _layer_values(history: pd.DataFrame, prefix: str) -> Floats:
    best = history.iloc[int(history["val/loss"].argmin())]
    return best[best.index.str.startswith(f"{prefix}/")].to_numpy(float)


def accuracy_by_zeros(results: pd.DataFrame, data_source: str, *, runs: Sequence[str] = ()) -> Figure:
    """Test accuracy against the share of weights that are zero: a point a seed, a larger one for a run's mean.

    Args:
        results: Rows of a study's results with the columns run, zeros and test_acc.
        data_source: The name of the data.
        runs: All runs of the study, in order: they decide the colours.
    """
    kept = results.dropna(subset=["zeros", "test_acc"])
    styles = _styles(runs, kept["run"])
    figure, ((ax,),) = _figure("Accuracy against the share of zeros", data_source, 1, 1, 4.2)
    for name, style in styles.items():
        points = kept.loc[kept["run"] == name, ["zeros", "test_acc"]].to_numpy(float)
        ax.plot(*points.T, "o", color=style["color"], markersize=4, alpha=0.4)
        ax.plot(*points.mean(axis=0), "D", color=style["color"], markersize=9)
    ax.set(xlabel="share of weights that are zero", ylabel="test accuracy")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(_percent))
    return _with_legend(figure, styles, "diamond: mean of all seeds · points: each seed")


def _centered(grid: Floats, ideal: float) -> Normalize:
    """Colours that part at the ideal; where nothing is negative, the scale has no negative numbers."""
    reach = max(float(np.nanmax(np.abs(grid - ideal))), 1e-9)
    if ideal > 0 and np.nanmin(grid) >= 0:
        return TwoSlopeNorm(ideal, vmin=max(0.0, ideal - reach), vmax=ideal + reach)
    return CenteredNorm(ideal, reach)


def confusion_matrix(matrix: npt.ArrayLike, class_names: Sequence[str], data_source: str) -> Figure:
    """How often which class is taken for which, in percent of the images of the true class.

    Args:
        matrix: Numbers of images [true class, predicted class].
        class_names: In the order of the labels.
        data_source: The name of the data.
    """
    share = _shares_of_rows(np.asarray(matrix, dtype=float))
    figure, ((ax,),) = _figure("Confusion matrix", data_source, 1, 1, WIDTH + 0.4)
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
    return _plain(figure)


def _shares_of_rows(counts: Floats) -> Floats:
    """Each number's share of its row; zeros where a row is empty."""
    shares: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def class_accuracy(matrix: npt.ArrayLike, class_names: Sequence[str], data_source: str) -> Figure:
    """The accuracy of each class, and where its errors go: the class that takes most of its images.

    Args:
        matrix: Numbers of images [true class, predicted class].
        class_names: In the order of the labels.
        data_source: The name of the data.
    """
    counts = np.asarray(matrix, dtype=float)
    share = _shares_of_rows(counts)
    right = share.diagonal()
    wrong = share - np.diag(right)
    figure, ((ax,),) = _figure("Accuracy of each class", data_source, 1, 1, 1.6 + 0.32 * len(class_names))
    rows = range(len(class_names))
    ax.barh(rows, right, color=COLORS[0], height=0.7)
    overall = counts.trace() / max(counts.sum(), 1)
    ax.axvline(overall, color="black", linewidth=1, linestyle="--", zorder=0)
    for row in rows:
        rival = _short(class_names[int(wrong[row].argmax())], 16)
        taken_for = f"; {100 * wrong[row].max():.0f} % {rival}" if wrong[row].any() else ""
        ax.text(right[row] + 0.01, row, f"{100 * right[row]:.0f} %{taken_for}", va="center", fontsize=10)
    ax.set_yticks(rows, class_names)
    ax.set(xlim=(0, 1.35), ylim=(len(class_names) - 0.5, -0.5))
    ax.set_xticks(np.linspace(0, 1, 6))
    ax.xaxis.set_major_formatter(FuncFormatter(_percent))
    ax.set_xlabel("right, and what most of the others are taken for")
    ax.set_title(f"all classes together: {100 * overall:.1f} % (dashed)", fontsize=11, loc="left")
    ax.grid(visible=False)
    return _plain(figure)


def worst_errors(
    images: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    class_names: Sequence[str],
    data_source: str,
    *,
    count: int = 24,
) -> Figure:
    """The wrongly classified images whose true class got the least probability, the worst first.

    Args:
        images: uint8 images [N, 3, height, width].
        probabilities: Class probabilities [N, classes].
        labels: The right classes [N].
        class_names: In the order of the labels.
        data_source: The name of the data.
        count: The most images to show.
    """
    p, truth = np.asarray(probabilities, dtype=float), np.asarray(labels)
    predicted, rows = p.argmax(axis=1), np.arange(len(truth))
    order = np.argsort(p[rows, truth], kind="stable")
    worst = [index for index in order if predicted[index] != truth[index]][:count]
    columns = 6
    lines = max(1, -(-len(worst) // columns))
    figure, axes = _figure("Worst errors: true class → prediction", data_source, lines, columns, 0.7 + 1.35 * lines)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, index in zip(axes.flat, worst, strict=False):
        ax.imshow(np.moveaxis(np.asarray(images)[index], 0, -1), interpolation="nearest")
        true, wrong = (_short(class_names[label], 11) for label in (truth[index], predicted[index]))
        ax.set_title(f"{true} →\n{wrong} {100 * p[index, predicted[index]]:.0f} %", fontsize=8.5)
    return _plain(figure)


def _figure(
    title: str, data_source: str, rows: int, columns: int, height: float, **subplots: Any
) -> tuple[Figure, npt.NDArray[Any]]:
    """A white figure with a grid of axes [rows, columns], and a title that names the data source."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, **subplots)
    lines = [title, *textwrap.wrap(data_source, 58)]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=12, weight="bold")
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#DDDDDD", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=10)
        ax.xaxis.label.set_size(11)
        ax.yaxis.label.set_size(11)
    return figure, axes


def _styles(runs: Iterable[str], shown: Iterable[str]) -> dict[str, _Style]:
    """The colours and lines of the runs that are shown, in the order of all runs."""
    order, wanted = list(dict.fromkeys([*runs, *shown])), set(shown)
    return {
        name: _Style(color=COLORS[index % len(COLORS)], linestyle=LINES[index // len(COLORS) % len(LINES)])
        for index, name in enumerate(order)
        if name in wanted
    }


def _with_legend(figure: Figure, styles: Mapping[str, _Style], note: str = "") -> Figure:
    """Add a legend of runs below the axes, and make room for it."""
    handles = [Line2D([], [], **style, linewidth=3) for style in styles.values()]
    labels = [_short(name, 30) for name in styles]
    columns = 3 if max(map(len, labels)) < 20 else 2
    legend = figure.legend(
        handles,
        [""] * len(labels),
        title=note,
        loc="outside lower left",
        alignment="left",
        ncols=columns,
        frameon=False,
        title_fontsize=9.5,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)  # not above: a legend leaves out labels that start with an underscore
    figure.set_figheight(figure.get_figheight() + 0.22 * -(-len(labels) // columns))
    return _plain(figure)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _plain(figure: Figure) -> Figure:
    """Names are the user's: a dollar sign in one isn't mathematics."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    return figure


def _by_run(histories: Mapping[tuple[str, int], pd.DataFrame]) -> dict[str, list[pd.DataFrame]]:
    by_run: dict[str, list[pd.DataFrame]] = {}
    for (name, _), history in histories.items():
        if not history.empty:
            by_run.setdefault(name, []).append(history)
    return by_run


def _epochs(history: pd.DataFrame) -> Floats:
    return history["epoch"].to_numpy(float) + 1


def _seconds(history: pd.DataFrame) -> Floats:
    return history["train/seconds"].to_numpy(float).cumsum()


def _mean_and_range(
    ax: Axes, seeds: Sequence[pd.DataFrame], x_of: Callable[[pd.DataFrame], Floats], column: str, style: _Style
) -> None:
    common = min(map(len, seeds))
    x = np.mean([x_of(seed)[:common] for seed in seeds], axis=0)
    values = np.stack([seed[column].to_numpy(float)[:common] for seed in seeds])
    ax.fill_between(x, values.min(axis=0), values.max(axis=0), color=style["color"], alpha=0.18, linewidth=0)
    ax.plot(x, values.mean(axis=0), **style, linewidth=2, marker="o" if common == 1 else None)
    for seed in seeds:
        ax.plot(x_of(seed)[common - 1 :], seed[column].iloc[common - 1 :], **style, linewidth=0.7, alpha=0.5)


def _cut_off(ax: Axes, losses: Floats, top: float) -> str:
    """Don't let a loss that explodes flatten all others; gives what the axis' label must then say."""
    if np.nanmax(losses) <= top:
        return ""
    low = float(np.nanmin(losses))
    ax.set_ylim(low - 0.05 * (top - low), top)
    return " (cut off)"


def _percent(value: float, _: object) -> str:
    return f"{100 * value:.4g} %"


def _number(value: float, _: object) -> str:
    return f"{value:g}"


def _signed(value: float, _: object) -> str:
    return f"{value:+.4g}".replace("-", "−") if value else "0"


def _log_x(ax: Axes) -> None:
    ax.set_xscale("log")
    _log_ticks(ax.xaxis)


def _log_ticks(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(numticks=6))
    axis.set_major_formatter(FuncFormatter(_number))
    axis.set_minor_formatter(NullFormatter())


def _search(ax: Axes, name: str, search: Mapping[str, Any], color: str) -> None:
    ax.plot(search["learning_rates"], search["losses"], ".", color=color, alpha=0.3, markersize=4)
    ax.plot(search["learning_rates"], search["smoothed"], color=color, linewidth=2)
    if search["suggestion"] is not None:
        ax.axvline(search["suggestion"], color="black", linewidth=1, linestyle="--")
    rates, losses = _short_runs(search)
    ax.plot(rates, losses, "s", color=color, markersize=6, markerfacecolor="white")
    ax.plot(rates[:1], losses[:1], "s", color=color, markersize=6)
    chosen = search.get("learning_rate", search["suggestion"])
    ax.set_title(f"{_short(name, 24)}: {'none' if chosen is None else f'{chosen:.2g}'}", fontsize=11, loc="left")
    _log_x(ax)


def _short_runs(search: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Learning rates and validation losses of the short runs that didn't blow up, the best first."""
    runs = [run for run in search.get("confirm_runs", ()) if run["val_loss"] is not None]
    return [run["learning_rate"] for run in runs], [run["val_loss"] for run in runs]


def _difference(ax: Axes, height: float, number: int, question: PairedDifference) -> None:
    """One row: a label above dots, mean and interval."""
    color = VERDICT_COLORS[question.verdict]
    ax.plot(question.differences, [height] * len(question.differences), "o", color=color, alpha=0.35, markersize=5)
    ax.plot([question.low, question.high], [height, height], color=color, linewidth=3)
    ax.plot(question.mean, height, "D", color=color, markersize=9, markeredgecolor="white")
    label = _short(f"Q{number}: {question.label}", 56)
    beside: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "fontsize": 10.5, "va": "bottom"}
    ax.text(0, height + 0.24, label, **beside, bbox={"color": "white", "pad": 1})
    ax.text(1, height + 0.24, question.verdict, **beside, ha="right", color=color, weight="bold")

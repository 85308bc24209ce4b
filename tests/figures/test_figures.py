"""What figures show, read from their axes."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from lit_cifar import figures
from lit_cifar.figures import PairedDifference, ShrinkingInterval
from lit_cifar.uncertainty import SampleCurve, reliability
from tests.figures.made_up import (
    BETTER,
    BY_DEPTH,
    DIFFERENCES,
    HISTORIES,
    IMAGES,
    LABELS,
    LADDER,
    LAYERS,
    PROBABILITIES,
    RANGE_TEST,
    RESULTS,
    RIGHT,
    SAMPLES,
    SEARCH,
    SEVERITIES,
    SHRINKING,
    SOURCE,
    WRONG,
    ZEROS,
    drawn,
    history,
    line_data,
    risk_curve,
    texts,
)

FIGURES = {
    "learning_curves": lambda source: figures.learning_curves(HISTORIES, source),
    "learning_rate_curves": lambda source: figures.learning_rate_curves({"ELU": SEARCH, "SELU": RANGE_TEST}, source),
    "accuracy_by_learning_rate": lambda source: figures.accuracy_by_learning_rate({"short": {"$ELU": LADDER}}, source),
    "paired_differences": lambda source: figures.paired_differences(DIFFERENCES, source),
    "shrinking_intervals": lambda source: figures.shrinking_intervals(SHRINKING, source),
    "accuracy_and_calibration_mc": lambda source: figures.accuracy_and_calibration_mc(RESULTS, source),
    "reliability_diagram": lambda source: figures.reliability_diagram(
        {"$net": {"plain": [reliability(PROBABILITIES, LABELS)]}}, source
    ),
    "risk_coverage": lambda source: figures.risk_coverage({"net": {"plain": [risk_curve(PROBABILITIES)]}}, source),
    "accuracy_by_samples": lambda source: figures.accuracy_by_samples({"net": {"MC": [SAMPLES, BETTER]}}, source),
    "layer_statistics": lambda source: figures.layer_statistics([[0.0, 1.0], [2.0, 3.0]], ["1", "2"], "mean", source),
    "layers_by_depth": lambda source: figures.layers_by_depth(LAYERS, source),
    "accuracy_by_zeros": lambda source: figures.accuracy_by_zeros(ZEROS, source),
    "accuracy_by_depth": lambda source: figures.accuracy_by_depth(BY_DEPTH, source),
    "examples": lambda source: figures.examples({"right": [RIGHT], "wrong": [WRONG, RIGHT], "odd": []}, "Odd", source),
    "scores_by_severity": lambda source: figures.scores_by_severity(SEVERITIES, source),
    "confusion_matrix": lambda source: figures.confusion_matrix([[3, 1], [0, 0]], ["cat", "dog"], source),
    "class_accuracy": lambda source: figures.class_accuracy([[3, 1], [0, 0]], ["cat", "$dog"], source),
    "worst_errors": lambda source: figures.worst_errors(IMAGES, PROBABILITIES, LABELS, ["$class"] * 10, source),
}


def test_small_differences_look_small_on_a_logarithmic_scale() -> None:
    healthy = figures.layer_statistics([[0.95], [1.03]], ["1", "2"], "gradient", SOURCE, log=True)
    assert healthy.axes[0].images[0].norm.vmin == pytest.approx(0.0103)
    vanishing = figures.layer_statistics([[1e-6], [1.0], [0.0]], ["1", "2", "3"], "gradient", SOURCE, log=True)
    assert vanishing.axes[0].images[0].norm.vmin == pytest.approx(1e-6)
    assert drawn(vanishing)
    assert drawn(figures.layer_statistics([[0.0]], ["1"], "gradient", SOURCE, log=True))


@pytest.mark.parametrize("name", FIGURES)
def test_every_title_names_the_data_source(name):
    figure = FIGURES[name]("my $5 pictures")
    assert figure.get_suptitle().endswith("\nmy $5 pictures")
    assert drawn(figure).startswith(b"\x89PNG")


def test_a_long_data_source_is_wrapped():
    lines = FIGURES["confusion_matrix"]("pictures in /a/very/long/path" * 5).get_suptitle().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 58


def test_figures_are_drawn_in_threads_and_leave_pyplot_alone():
    with ThreadPoolExecutor(4) as pool:
        pngs = list(pool.map(lambda make: drawn(make(SOURCE)), list(FIGURES.values())[2:6]))
    assert len(set(pngs)) == 4
    assert plt.get_fignums() == []


def test_a_mean_goes_as_far_as_all_seeds_and_the_others_go_on_alone():
    loss_by_epoch = figures.learning_curves(HISTORIES, SOURCE).axes[0]
    epochs, losses = line_data(loss_by_epoch, 0)
    assert epochs == pytest.approx([1, 2, 3], abs=0.16)
    assert losses == pytest.approx([2.1, 1.9, 1.7])
    assert line_data(loss_by_epoch, 1) == (epochs[2:], [1.6])
    assert line_data(loss_by_epoch, 2)[0] == pytest.approx([3, 4, 5], abs=0.16)
    assert line_data(loss_by_epoch, 2)[1] == [1.8, 1.7, 1.9]
    band = loss_by_epoch.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (1.6, 2.2)


def test_seconds_add_up_over_epochs():
    loss_by_seconds = figures.learning_curves(HISTORIES, SOURCE).axes[1]
    assert line_data(loss_by_seconds, 0)[0] == [2, 4, 6]
    assert line_data(loss_by_seconds, 3) == ([3, 6], [1.9, 1.7])


def test_an_exploding_loss_is_cut_off_and_says_so():
    calm = figures.learning_curves(HISTORIES, SOURCE).axes[0]
    wild = figures.learning_curves({**HISTORIES, ("Bad", 0): history([2.0, 900.0])}, SOURCE).axes[0]
    assert calm.get_ylabel() == "validation loss"
    assert wild.get_ylabel() == "validation loss (cut off)"
    assert wild.get_ylim()[1] < 5


def test_runs_keep_their_colours_in_all_figures():
    runs = ["ELU", "SELU", "Dropout"]
    curves = figures.learning_curves({**HISTORIES, ("Dropout", 0): history([2.0, 1.0])}, SOURCE, runs=runs).axes[0]
    in_curves = {to_hex(line.get_color()) for line in curves.get_lines()[-2:]}
    mc = figures.accuracy_and_calibration_mc(RESULTS, SOURCE, runs=runs).axes[0]
    search = figures.learning_rate_curves({"Dropout": SEARCH}, SOURCE, runs=runs).axes[0]
    assert in_curves == {to_hex(mc.get_lines()[0].get_color())} == {to_hex(search.get_lines()[0].get_color())}
    assert in_curves == {figures.COLORS[2].lower()}


def test_many_runs_are_told_apart_by_lines_too():
    many = {(f"run {number}", 0): history([2.0, 1.0]) for number in range(20)}
    figure = figures.learning_curves(many, SOURCE)
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()}
    assert len(looks) == 20
    assert drawn(figure)


def test_names_of_runs_are_shown_as_they_are():
    figure = figures.learning_curves({("_$x", 0): history([2.0, 1.0]), ("b$\\frac$", 0): history([2.0, 1.0])}, SOURCE)
    assert {"_$x", "b$\\frac$"} <= set(texts(figure))
    assert drawn(figure)


def test_a_search_shows_losses_suggestion_and_short_runs():
    first, second = figures.learning_rate_curves({"ELU": SEARCH, "SELU": RANGE_TEST}, SOURCE).axes
    raw, smoothed, suggestion, short_runs, best = (line_data(first, number) for number in range(5))
    assert raw == (SEARCH["learning_rates"], SEARCH["losses"])
    assert smoothed == (SEARCH["learning_rates"], SEARCH["smoothed"])
    assert suggestion[0] == [2e-3, 2e-3]
    assert short_runs == ([6e-3, 2e-3], [1.6, 1.7])
    assert best == ([6e-3], [1.6])
    assert first.get_title(loc="left") == "ELU: 0.006"
    assert second.get_title(loc="left") == "SELU: none"
    assert first.get_ylim()[1] < 5


def test_paired_differences_share_an_axis_by_unit_and_better_is_to_the_right():
    accuracy, epochs = figures.paired_differences(DIFFERENCES, SOURCE).axes
    left, right = accuracy.get_xlim()
    assert left == -right
    assert right > 5
    left, right = epochs.get_xlim()
    assert left == -right
    assert right < -6
    labels = [text.get_text() for text in accuracy.texts]
    assert labels == ["Q3: D against B", "can't tell yet", "Q1: A against B", "yes"]
    assert line_data(epochs, 0)[0] == [-2, -6]
    assert line_data(epochs, 1)[0] == [-6, -2]
    assert line_data(epochs, 2)[0] == [-1, -1]
    assert line_data(epochs, 3)[0] == [-4]


def test_the_label_of_a_long_measure_is_not_cut_off():
    unit = "test accuracy, epoch chosen by validation accuracy (percentage points)"
    [ax] = figures.paired_differences([dataclasses.replace(DIFFERENCES[0], unit=unit)], SOURCE).axes
    drawn(ax.figure)
    extent = ax.xaxis.label.get_window_extent()
    assert 0 <= extent.x0 < extent.x1 <= ax.figure.bbox.width


RATIO = PairedDifference("A against B", "seconds", "lower", 98, 90, 106, [97, 99], "no (worse)", 1.05, "ratio")


@pytest.mark.parametrize(
    ("ratio", "ticks"),
    [(98, ["× 0.01", "× 0.1", "× 1", "× 10", "× 100"]), (1.5, ["× 0.8", "× 1", "× 1.2", "× 1.4"])],
)
def test_ratios_have_a_logarithmic_axis_with_1_in_the_middle(ratio, ticks):
    question = dataclasses.replace(RATIO, mean=ratio, low=0.95 * ratio, high=1.02 * ratio, differences=[ratio])
    [ax] = figures.paired_differences([question], SOURCE).axes
    left, right = ax.get_xlim()
    assert left * right == pytest.approx(1)
    assert left > ratio > 1
    assert line_data(ax, 4)[0] == [1, 1]
    drawn(ax.figure)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ticks


def test_a_much_larger_difference_has_axes_of_its_own():
    large = dataclasses.replace(DIFFERENCES[0], mean=-30, low=-31, high=-29, differences=[-30])
    axes = figures.paired_differences([DIFFERENCES[0], large, DIFFERENCES[2]], SOURCE).axes
    assert [[text.get_text()[:2] for text in ax.texts[::2]] for ax in axes] == [["Q3", "Q1"], ["Q2"]]
    assert [ax.get_xlim()[1] for ax in axes] == [pytest.approx(5.4), pytest.approx(1.08 * 31)]


def test_a_long_label_takes_two_lines():
    long = dataclasses.replace(DIFFERENCES[0], label=", ".join(["a run with a long name"] * 4))
    [ax] = figures.paired_differences([long], SOURCE).axes
    lines = ax.texts[0].get_text().splitlines()
    assert len(lines) == 2
    assert " ".join(lines) == f"Q1: {long.label}"


def test_paired_differences_without_any_pair_can_be_drawn():
    nothing = PairedDifference(
        "A against B", "accuracy", "higher", np.nan, np.nan, np.nan, [np.nan] * 2, "can't tell yet"
    )
    assert drawn(figures.paired_differences([nothing], SOURCE))
    assert len(figures.paired_differences([nothing, DIFFERENCES[0]], SOURCE).axes) == 1


def test_accuracy_against_the_learning_rate_marks_the_chosen_one():
    panels = {"short": {"ELU": LADDER}, "none": {}, "full": {"ELU": LADDER[:1]}}
    ax, full = figures.accuracy_by_learning_rate(panels, SOURCE).axes
    assert line_data(ax, 0) == ([1e-3, 2e-3], [pytest.approx(0.25), pytest.approx(0.46)])
    assert line_data(ax, 1) == ([2e-3], [pytest.approx(0.46)])
    assert (ax.get_title(loc="left"), full.get_title(loc="left")) == ("short", "full")
    assert line_data(full, 0) == ([2e-3], [pytest.approx(0.46)])


def test_intervals_are_drawn_look_by_look():
    first, second = figures.shrinking_intervals(SHRINKING, SOURCE).axes
    assert [text.get_text() for text in first.get_xticklabels()] == ["4", "6", "8"]
    [intervals] = first.collections
    assert [(low[1], high[1]) for low, high in intervals.get_segments()] == [(-1, 5), (0.5, 2.5), (1.1, 2.1)]
    assert [line_data(first, n)[1] for n in (1, 2)] == [[0, 0], [0.5, 0.5]]
    assert len(second.get_lines()) == 2  # no margin


def test_intervals_of_ratios_have_a_logarithmic_axis():
    ratio = ShrinkingInterval("Q1", "ratio", [4, 6], [3, 2.9], [0.9, 1.5], [8, 5], "no (worse)", 0.95, "ratio")
    [ax] = figures.shrinking_intervals([ratio], SOURCE).axes
    assert ax.get_yscale() == "log"
    assert line_data(ax, 1)[1] == [1, 1]
    assert "× 1" in [tick.get_text() for tick in ax.get_yticklabels()]


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_epochs_are_whole(epochs):
    ax = figures.layer_statistics([[1.0] * epochs], ["only"], "std", SOURCE).axes[0]
    assert all(tick == round(tick) for tick in ax.get_xticks())
    assert any(1 <= tick <= epochs for tick in ax.get_xticks())


def test_accuracy_by_depth_has_means_and_bands_of_all_seeds():
    (ax,) = figures.accuracy_by_depth(BY_DEPTH, SOURCE).axes
    plain, skips = ax.lines
    assert plain.get_xdata() == pytest.approx([5 * 0.96, 40 * 0.96])  # beside the other family
    assert skips.get_xdata() == pytest.approx([5 * 1.04, 10 * 1.04])
    assert plain.get_ydata() == pytest.approx([0.51, 0.4])
    assert skips.get_ydata() == pytest.approx([0.5, 0.6])
    (corners,) = (path.vertices for path in ax.collections[0].get_paths())
    found = {(round(x / 0.96), round(y, 2)) for x, y in corners}
    assert found == {(5, 0.5), (5, 0.52), (40, 0.3), (40, 0.5)}
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["5", "10", "40"]


def test_zeros_show_every_seed_and_the_mean():
    (ax,) = figures.accuracy_by_zeros(ZEROS, SOURCE).axes
    assert line_data(ax, 2) == ([0.9, 0.9], [0.4, 0.5])
    assert line_data(ax, 3) == ([0.9], [pytest.approx(0.45)])


@pytest.mark.parametrize(("highest", "labels"), [(4.0, ["1", "2"]), (400.0, ["1", "10", "100"])])
def test_a_logarithmic_axis_has_more_labels_where_it_spans_little(highest, labels):
    curve = SampleCurve((1, int(highest)), (0.4, 0.5), (1.7, 1.6))
    figure = figures.accuracy_by_samples({"net": {"MC": [curve]}}, SOURCE)
    drawn(figure)
    ax = figure.axes[0]
    low, high = ax.get_xlim()
    ticks = zip(ax.xaxis.get_majorticklocs(), ax.xaxis.get_majorticklabels(), strict=True)
    assert [label.get_text() for place, label in ticks if low <= place <= high] == labels


def test_points_of_many_runs_are_told_apart_without_lines():
    runs = [f"run {number}" for number in range(10)]
    zeros = pd.DataFrame({"run": runs, "zeros": 0.5, "test_acc": 0.4})
    figure = figures.accuracy_by_zeros(zeros, SOURCE)
    means = figure.axes[0].get_lines()[1::2]
    looks = [(line.get_color(), to_hex(line.get_markerfacecolor())) for line in means]
    assert len(set(looks)) == 10
    in_legend = figure.legends[0].get_lines()
    assert [(line.get_color(), to_hex(line.get_markerfacecolor())) for line in in_legend] == looks

"""What the pictures show: read back from the figures' axes."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from lit_cifar import figures
from lit_cifar.figures import Example, PairedDifference, RiskCurve, ShrinkingInterval
from lit_cifar.uncertainty import SampleCurve, aurc, expected_calibration_error, reliability, risk_coverage

SOURCE = "CIFAR-10 (official files)"


def history(val_loss: list[float], seconds: float = 2.0) -> pd.DataFrame:
    epochs = len(val_loss)
    return pd.DataFrame(
        {
            "epoch": range(epochs),
            "train/seconds": [seconds] * epochs,
            "val/loss": val_loss,
            "val/accuracy": [0.1 * (epoch + 1) for epoch in range(epochs)],
        }
    )


HISTORIES = {
    ("ELU", 0): history([2.0, 1.8, 1.6]),
    ("ELU", 1): history([2.2, 2.0, 1.8, 1.7, 1.9]),
    ("SELU", 0): history([1.9, 1.7], seconds=3.0),
    ("SELU", 1): pd.DataFrame(),
}
SEARCH = {
    "learning_rates": [1e-4, 1e-3, 1e-2, 1e-1],
    "losses": [2.3, 2.0, 1.9, 50.0],
    "smoothed": [2.3, 2.1, 1.9, 30.0],
    "suggestion": 2e-3,
    "confirm_runs": [
        {"learning_rate": 6e-3, "val_loss": 1.6},
        {"learning_rate": 2e-3, "val_loss": 1.7},
        {"learning_rate": 2e-2, "val_loss": None},
    ],
    "learning_rate": 6e-3,
}
LADDER = [
    {"learning_rate": 2e-3, "val_losses": [1.5, 1.6], "val_accuracies": [0.44, 0.48]},
    {"learning_rate": 1e-3, "val_losses": [1.7, None], "val_accuracies": [0.4, 0.1]},
]
RANGE_TEST = {key: SEARCH[key] for key in ("learning_rates", "losses", "smoothed")} | {"suggestion": None}
DIFFERENCES = [
    PairedDifference("A against B", "accuracy", "higher", 2.0, 1.0, 3.0, [1.0, 3.0, float("nan")], "yes"),
    PairedDifference("C against B", "epochs", "lower", -4.0, -6.0, -2.0, [-2.0, -6.0], "worse", -1.0),
    PairedDifference("D against B", "accuracy", "higher", -5.0, float("nan"), float("nan"), [-5.0], "can't tell yet"),
]
SHRINKING = [
    ShrinkingInterval(
        "Q1: A against $B", "points", [4, 6, 8], [2.0, 1.5, 1.6], [-1, 0.5, 1.1], [5, 2.5, 2.1], "yes", 0.5
    ),
    ShrinkingInterval("Q2: no pairs", "points", [], [], [], [], "can't tell yet", float("inf")),
]
RESULTS = pd.DataFrame(
    {
        "run": ["ELU", "Dropout", "Dropout"],
        "test_acc": [0.5, 0.4, 0.5],
        "mc_test_acc": [np.nan, 0.42, 0.52],
        "test_ece": [0.1, 0.1, 0.08],
        "mc_test_ece": [np.nan, 0.02, 0.04],
    }
)
LOGITS = torch.randn(500, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(500) % 10
PROBABILITIES = LOGITS.softmax(1)
IMAGES = torch.zeros(500, 3, 8, 8, dtype=torch.uint8)
SAMPLES = SampleCurve((1, 10, 100), (0.4, 0.45, 0.46), (1.7, 1.6, 1.55))
BETTER = SampleCurve((1, 10, 100), (0.6, 0.65, 0.66), (1.5, 1.4, 1.35))


def risk_curve(probabilities: torch.Tensor) -> RiskCurve:
    return RiskCurve(*risk_coverage(probabilities, LABELS), aurc(probabilities, LABELS))


ZEROS = pd.DataFrame({"run": ["dense", "pruned", "pruned"], "zeros": [0.0, 0.9, 0.9], "test_acc": [0.5, 0.4, 0.5]})
SEVERITIES = pd.DataFrame(
    {
        "run": ["plain", "dropout", "dropout"],
        **{f"test_{score}": [0.5, 0.6, 0.4] for score in ("acc", "nll", "ece")},
        **{f"test_severity_{n}_{score}": [0.1 * n] * 3 for n in range(1, 6) for score in ("acc", "nll", "ece")},
        **{f"mc_test_{score}": [np.nan, 0.7, 0.7] for score in ("acc", "nll", "ece")},
        **{f"mc_test_severity_{n}_{score}": [np.nan, n, n] for n in range(1, 6) for score in ("acc", "nll", "ece")},
    }
)
LAYERS = {
    (name, 0): history([2.0, 1.8, 1.9]).assign(
        **{f"{profile}/{layer}": [9.0, value, 9.0] for profile in figures.PROFILES for layer in ("hidden_01", "output")}
    )
    for name, value in (("ELU", 0.5), ("SELU", 1.0))
}
BY_DEPTH = {"plain": {40: [0.3, 0.5], 5: [0.5, 0.52]}, "$skips": {5: [0.5], 10: [0.6]}}
RIGHT = Example(torch.zeros(3, 4, 4, dtype=torch.uint8), "cat", "cat", 0.93)
WRONG = Example(torch.zeros(3, 4, 4, dtype=torch.uint8), "cat", "dog", 0.41)
FIGURES = {
    "learning_curves": lambda source: figures.learning_curves(HISTORIES, source),
    "learning_rate_curves": lambda source: figures.learning_rate_curves({"ELU": SEARCH, "SELU": RANGE_TEST}, source),
    "accuracy_by_learning_rate": lambda source: figures.accuracy_by_learning_rate({"$ELU": LADDER}, source),
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


def drawn(figure: Figure) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, dpi=30)
    return png.getvalue()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_no_share_of_dead_units_is_labelled_below_zero(share: float) -> None:
    histories = {
        key: history.assign(**dict.fromkeys(history.filter(like="layer_dead/"), share))
        for key, history in LAYERS.items()
    }
    figure = figures.layers_by_depth(histories, SOURCE)
    drawn(figure)
    axis = figure.axes[3].yaxis
    low, high = sorted(axis.get_view_interval())
    assert low <= share <= high
    assert all(tick >= 0 for tick in axis.get_majorticklocs() if low <= tick <= high)


def with_former_gradient(history: pd.DataFrame) -> pd.DataFrame:
    """The history as older versions have logged it."""
    return history.rename(columns=lambda name: name.replace("gradient_rms", "gradient_norm"))


def test_gradients_of_older_versions_are_drawn_under_their_own_name() -> None:
    former = {key: with_former_gradient(history) for key, history in LAYERS.items()}
    gradient = figures.layers_by_depth(former, SOURCE).axes[2]
    assert gradient.get_title(loc="left") == "gradient norm of the whole layer"
    assert line_data(gradient, 0)[1] == [0.5, 0.5]


def test_gradients_of_two_kinds_never_share_an_axis() -> None:
    both = {
        **LAYERS,
        ("ELU", 1): with_former_gradient(LAYERS["ELU", 0]),
        ("Old", 0): with_former_gradient(LAYERS["ELU", 0]),
    }
    gradient = figures.layers_by_depth(both, SOURCE).axes[2]
    assert gradient.get_title(loc="left") == "gradient (root mean square)"
    assert [line_data(gradient, number)[1] for number in range(3)] == [[0.5, 0.5], [1.0, 1.0], []]


def test_small_differences_look_small_on_a_logarithmic_scale() -> None:
    healthy = figures.layer_statistics([[0.95], [1.03]], ["1", "2"], "gradient", SOURCE, log=True)
    assert healthy.axes[0].images[0].norm.vmin == pytest.approx(0.0103)
    vanishing = figures.layer_statistics([[1e-6], [1.0], [0.0]], ["1", "2", "3"], "gradient", SOURCE, log=True)
    assert vanishing.axes[0].images[0].norm.vmin == pytest.approx(1e-6)
    assert drawn(vanishing)
    assert drawn(figures.layer_statistics([[0.0]], ["1"], "gradient", SOURCE, log=True))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def line_data(ax, number: int) -> tuple[list[float], list[float]]:
    x, y = ax.get_lines()[number].get_data()
    return [float(value) for value in x], [float(value) for value in y]


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
    assert epochs == [1, 2, 3]
    assert losses == pytest.approx([2.1, 1.9, 1.7])
    assert line_data(loss_by_epoch, 1) == ([3], [1.6])
    assert line_data(loss_by_epoch, 2) == ([3, 4, 5], [1.8, 1.7, 1.9])
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


def test_paired_differences_without_any_pair_can_be_drawn():
    nothing = PairedDifference(
        "A against B", "accuracy", "higher", np.nan, np.nan, np.nan, [np.nan] * 2, "can't tell yet"
    )
    assert drawn(figures.paired_differences([nothing], SOURCE))


def test_accuracy_against_the_learning_rate_marks_the_chosen_one():
    [ax] = figures.accuracy_by_learning_rate({"ELU": LADDER}, SOURCE).axes
    assert line_data(ax, 0) == ([1e-3, 2e-3], [pytest.approx(0.25), pytest.approx(0.46)])
    assert line_data(ax, 1) == ([2e-3], [pytest.approx(0.46)])


def test_intervals_are_drawn_look_by_look():
    first, second = figures.shrinking_intervals(SHRINKING, SOURCE).axes
    assert [text.get_text() for text in first.get_xticklabels()] == ["4", "6", "8"]
    [intervals] = first.collections
    assert [(low[1], high[1]) for low, high in intervals.get_segments()] == [(-1, 5), (0.5, 2.5), (1.1, 2.1)]
    assert [line_data(first, n)[1] for n in (1, 2)] == [[0, 0], [0.5, 0.5]]
    assert len(second.get_lines()) == 2  # no margin


def test_runs_with_the_same_layers_stand_side_by_side():
    same = {(name, 0): LAYERS["ELU", 0] for name in ("a", "b")}
    lines = figures.layers_by_depth(same, SOURCE).axes[0].get_lines()
    places = [line.get_xdata().tolist() for line in lines]
    assert places == [pytest.approx([0.85, 1.85]), pytest.approx([1.15, 2.15])]


def test_mc_dropout_shows_only_runs_that_have_it():
    accuracy, ece = figures.accuracy_and_calibration_mc(RESULTS, SOURCE).axes
    assert [line_data(accuracy, number)[1] for number in range(2)] == [[0.4, 0.42], [0.5, 0.52]]
    assert line_data(accuracy, 2)[1] == pytest.approx([0.45, 0.47])
    assert line_data(ece, 2)[1] == pytest.approx([0.09, 0.03])
    assert len(accuracy.get_lines()) == 3


def test_a_reliability_diagram_says_the_calibration_error():
    figure = figures.reliability_diagram({"net": {"plain": [reliability(PROBABILITIES, LABELS)]}}, SOURCE)
    assert f"ECE {expected_calibration_error(PROBABILITIES, LABELS):.3f}" in texts(figure)
    assert {"net", "plain"} <= set(texts(figure))


def test_a_reliability_diagram_puts_the_images_of_all_seeds_together_and_averages_their_errors():
    halves = [(PROBABILITIES[part], LABELS[part]) for part in (slice(0, 100), slice(100, 500))]
    seeds, whole = [reliability(*half) for half in halves], reliability(PROBABILITIES, LABELS)
    figure = figures.reliability_diagram({"net": {"plain": seeds}}, SOURCE)
    full = whole.count > 0
    confidence, accuracy = line_data(figure.axes[0], 1)
    assert confidence == pytest.approx(whole.confidence[full].tolist())
    assert accuracy == pytest.approx(whole.accuracy[full].tolist())
    assert f"ECE {np.mean([expected_calibration_error(*half) for half in halves]):.3f}" in texts(figure)


def test_risk_coverage_says_its_mean():
    figure = figures.risk_coverage({"net": {"plain": [risk_curve(PROBABILITIES)]}}, SOURCE)
    assert f"mean {aurc(PROBABILITIES, LABELS):.3f}" in texts(figure)


def test_accuracy_by_samples_shows_both_scores_as_means_over_seeds_with_a_band():
    accuracy, nll = figures.accuracy_by_samples({"net": {"MC": [SAMPLES, BETTER]}}, SOURCE).axes
    assert line_data(accuracy, 0) == ([1, 10, 100], pytest.approx([0.5, 0.55, 0.56]))
    assert line_data(nll, 0) == ([1, 10, 100], pytest.approx([1.6, 1.5, 1.45]))
    band = accuracy.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.4, 0.66)


@pytest.mark.parametrize("networks", [1, 2, 5])
def test_every_network_has_a_panel_and_the_lowest_of_each_column_is_labelled(networks):
    names = [f"net {number}" for number in range(networks)]
    curve = {"plain": [reliability(PROBABILITIES, LABELS)], "MC": [reliability(PROBABILITIES, LABELS)]}
    figure = figures.reliability_diagram(dict.fromkeys(names, curve), SOURCE)
    assert [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")] == names
    assert len(figure.axes) == 2 * networks
    labelled = [ax for ax in figure.axes if ax.get_xlabel() == "confidence"]
    assert len(labelled) == min(networks, 2)
    assert drawn(figure)


def test_scores_by_severity_start_at_the_clean_images_and_are_dashed_with_mc_dropout():
    accuracy = figures.scores_by_severity(SEVERITIES, SOURCE).axes[0]
    lines = {(line.get_color(), line.get_linestyle()): list(line.get_ydata()) for line in accuracy.lines}
    plain, dropout = figures.COLORS[:2]
    assert all(list(line.get_xdata()) == list(range(6)) for line in accuracy.lines)
    assert lines[dropout, "-"] == pytest.approx([0.5, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert lines[dropout, "--"] == pytest.approx([0.7, 1, 2, 3, 4, 5])
    assert lines[plain, "-"][0] == 0.5
    assert np.isnan(lines[plain, "--"]).all()


def test_examples_say_what_they_are_taken_for_and_what_they_are():
    shown = texts(figures.examples({"right": [RIGHT], "wrong": [WRONG], "odd": []}, "Odd", SOURCE))
    assert {"right", "wrong", "odd: none", "cat 93 %", "dog 41 %\nis cat"} <= set(shown)


def test_layer_statistics_are_white_at_the_ideal_value():
    values = [[0.5, 1.0], [1.5, 3.0]]
    image = figures.layer_statistics(values, ["in", "out"], "std", SOURCE, ideal=1.0).axes[0].get_images()[0]
    assert image.get_array().tolist() == values
    assert min(image.cmap(image.norm(1.0))[:3]) > 0.95
    assert image.norm(3.0) == 1


def test_a_confusion_matrix_is_in_percent_of_the_true_class():
    ax = figures.confusion_matrix([[3, 1], [0, 0]], ["cat", "dog"], SOURCE).axes[0]
    assert [text.get_text() for text in ax.texts] == ["75", "25", "0", "0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]


def test_shares_start_at_zero():
    image = figures.layer_statistics([[0.0, 0.0]], ["only"], "dead", SOURCE).axes[0].get_images()[0]
    assert (image.norm.vmin, image.norm.vmax) == (0, 1)


def test_each_class_tells_its_accuracy_and_its_rival():
    ax = figures.class_accuracy([[6, 1, 3], [0, 4, 0], [0, 0, 0]], ["cat", "dog", "frog"], SOURCE).axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.6, 1, 0])
    assert [text.get_text() for text in ax.texts] == ["60 %; 30 % frog", "100 %", "0 %"]
    assert "71.4 %" in ax.get_title(loc="left")


def test_worst_errors_are_those_with_the_least_probable_truth():
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    probabilities = [[0.9, 0.1], [0.6, 0.4], [0.01, 0.99], [0.05, 0.95]]
    figure = figures.worst_errors(images, probabilities, [1, 1, 1, 0], ["cat", "dog"], SOURCE)
    shown = [ax for ax in figure.axes if ax.get_images()]
    assert [int(ax.get_images()[0].get_array().max()) for ax in shown] == [3, 0, 1]
    assert [ax.get_title() for ax in shown] == ["cat →\ndog 95 %", "dog →\ncat 90 %", "dog →\ncat 60 %"]


def test_a_net_without_errors_has_a_picture_of_none():
    figure = figures.worst_errors(IMAGES, torch.eye(10)[LABELS], LABELS, ["x"] * 10, SOURCE)
    assert not any(ax.get_images() for ax in figure.axes)
    assert drawn(figure)


@pytest.mark.parametrize("ideal", [None, 1.0])
def test_layers_that_are_all_alike_can_be_drawn(ideal):
    assert drawn(figures.layer_statistics([[1.0, 1.0]], ["only"], "std", SOURCE, ideal=ideal))


def test_a_net_without_errors_has_a_risk_coverage_figure():
    perfect = torch.eye(10)[LABELS]
    assert drawn(figures.risk_coverage({"net": {"plain": [risk_curve(perfect)]}}, SOURCE))


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_epochs_are_whole(epochs):
    ax = figures.layer_statistics([[1.0] * epochs], ["only"], "std", SOURCE).axes[0]
    assert all(tick == round(tick) for tick in ax.get_xticks())
    assert any(1 <= tick <= epochs for tick in ax.get_xticks())


def test_layers_are_those_of_the_best_epoch():
    for ax in figures.layers_by_depth(LAYERS, SOURCE).axes:
        assert [line_data(ax, number) for number in (0, 1)] == [([0.85, 1.85], [0.5, 0.5]), ([1.15, 2.15], [1, 1])]


def test_accuracy_by_depth_has_means_and_bands_of_all_seeds():
    (ax,) = figures.accuracy_by_depth(BY_DEPTH, SOURCE).axes
    plain, skips = ax.lines
    assert plain.get_xydata().tolist() == [[5, pytest.approx(0.51)], [40, pytest.approx(0.4)]]
    assert skips.get_xydata().tolist() == [[5, 0.5], [10, 0.6]]
    (corners,) = (path.vertices for path in ax.collections[0].get_paths())
    assert {(x, round(y, 2)) for x, y in corners} == {(5, 0.5), (5, 0.52), (40, 0.3), (40, 0.5)}
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

"""Figures of classes, single images and layers."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from lit_cifar import figures
from tests.figures.made_up import IMAGES, LABELS, LAYERS, RIGHT, SOURCE, WRONG, drawn, line_data, texts


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


def test_runs_with_the_same_layers_stand_side_by_side():
    same = {(name, 0): LAYERS["ELU", 0] for name in ("a", "b")}
    lines = figures.layers_by_depth(same, SOURCE).axes[0].get_lines()
    places = [line.get_xdata().tolist() for line in lines]
    assert places == [pytest.approx([0.85, 1.85]), pytest.approx([1.15, 2.15])]


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


def test_layers_are_those_of_the_best_epoch():
    for ax in figures.layers_by_depth(LAYERS, SOURCE).axes:
        assert [line_data(ax, number) for number in (0, 1)] == [([0.85, 1.85], [0.5, 0.5]), ([1.15, 2.15], [1, 1])]

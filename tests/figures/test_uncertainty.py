"""Figures of MC dropout, calibration and corrupted images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lit_cifar import figures
from lit_cifar.uncertainty import aurc, expected_calibration_error, reliability
from tests.figures.made_up import (
    BETTER,
    LABELS,
    PROBABILITIES,
    RESULTS,
    SAMPLES,
    SEVERITIES,
    SOURCE,
    drawn,
    line_data,
    risk_curve,
    texts,
)


def test_mc_dropout_shows_only_runs_that_have_it():
    accuracy, ece = figures.accuracy_and_calibration_mc(RESULTS, SOURCE).axes
    assert [line_data(accuracy, number)[1] for number in range(2)] == [[0.4, 0.42], [0.5, 0.52]]
    assert line_data(accuracy, 2)[1] == pytest.approx([0.45, 0.47])
    assert line_data(ece, 2)[1] == pytest.approx([0.08**0.5 * 0.1**0.5, 0.02**0.5 * 0.04**0.5])
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
    assert all(list(line.get_xdata()) == pytest.approx(range(6), abs=0.11) for line in accuracy.lines)
    assert lines[dropout, "-"] == pytest.approx([0.5, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert lines[dropout, "--"] == pytest.approx([0.7, 1, 2, 3, 4, 5])
    assert lines[plain, "-"][0] == 0.5
    assert np.isnan(lines[plain, "--"]).all()


def test_a_net_without_errors_has_a_risk_coverage_figure():
    perfect = torch.eye(10)[LABELS]
    assert drawn(figures.risk_coverage({"net": {"plain": [risk_curve(perfect)]}}, SOURCE))

"""Range-test curves with known answers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_cifar.lr_find import curve as learning_rate
from lit_cifar.lr_find.curve import MIN_LOSSES, SMOOTHING, LearningRateCurve, read_curve
from lit_cifar.utils.errors import UserError

RATES = np.geomspace(1e-6, 10, 141)
DROP, EXPLOSION = 1e-3, 0.05


def typical(rates=RATES, *, noise=0.0, seed=0):
    """A plateau at 2.3, a drop of 0.8 centred at `DROP`, and losses that explode by e every 0.15 decades."""
    x = np.log10(rates)
    drop = 0.8 / (1 + np.exp(-(x - np.log10(DROP)) / 0.25))
    explosion = np.exp((x - np.log10(EXPLOSION)) / 0.15)
    return 2.3 - drop + explosion + noise * np.random.default_rng(seed).normal(size=len(rates))


LOWEST = float(RATES[np.argmin(typical())])
HALF_BACK = EXPLOSION * 10 ** (0.15 * math.log(0.8 / 2))
"""Where the explosion has undone half of the drop."""


def decades(a, b):
    return abs(math.log10(a / b))


def readings(curve):
    return curve.valley, curve.steepest, curve.minimum, curve.minimum_tenth, curve.suggestion


def test_smoothing_is_the_bias_corrected_moving_average():
    losses = typical(noise=0.1)
    keep = math.exp(-0.05 / SMOOTHING)  # 20 points a decade
    running, expected = 0.0, []
    for step, loss in enumerate(losses, start=1):
        running = keep * running + (1 - keep) * loss
        expected.append(running / (1 - keep**step))
    assert read_curve(RATES, losses).smoothed == pytest.approx(expected, rel=1e-9)


def test_smoothing_does_not_depend_on_how_densely_a_stretch_is_swept():
    rates = np.sort(np.append(RATES, np.geomspace(1.1e-3, 1.9e-3, 37)))
    line = read_curve(rates, 3 - 0.2 * np.log10(rates))
    lag = np.log10(rates) - (3 - np.asarray(line.smoothed)) / 0.2
    assert line.smoothed[0] == line.losses[0]
    assert lag[rates > 0.1] == pytest.approx(SMOOTHING, abs=0.03)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("noise", [0.02, 0.05])
def test_readings_of_a_typical_curve(noise, seed):
    curve = read_curve(RATES, typical(noise=noise, seed=seed))
    assert decades(curve.steepest, DROP) < 0.4
    assert decades(curve.valley, DROP) < 0.4
    assert decades(curve.minimum, LOWEST) < 0.5
    assert curve.minimum_tenth == curve.minimum / 10
    assert curve.suggestion == curve.valley
    assert HALF_BACK <= curve.diverges_at < 2 * HALF_BACK


def test_readings_without_noise_are_where_the_curve_was_put():
    curve = read_curve(RATES, typical())
    assert decades(curve.steepest, DROP) < 0.15
    assert decades(curve.minimum, LOWEST) < SMOOTHING
    assert HALF_BACK <= curve.diverges_at < 1.5 * HALF_BACK


def test_valley_is_the_middle_of_the_stretch_that_falls():
    """Flat to 1e-4, down a straight line to 1e-2, up again: the middle is 1e-3."""
    x = np.log10(RATES)
    losses = 2 - 0.4 * (np.clip(x, -4, -2) + 4) + 0.6 * np.clip(x + 2, 0, None)
    assert decades(read_curve(RATES, losses).valley, 1e-3) < 0.1
    spiked = losses.copy()
    spiked[[52, 66]] += 0.3
    assert decades(read_curve(RATES, spiked).valley, 1e-3) < 0.2


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_valley_finds_the_longest_subsequence_of_ever_lower_losses(losses):
    lengths = []
    for i, loss in enumerate(losses):
        lengths.append(1 + max((lengths[j] for j in range(i) if losses[j] > loss), default=0))
    end = lengths.index(max(lengths))
    middle = end - (max(lengths) - 1) / 2
    assert learning_rate._valley(np.arange(len(losses)), np.asarray(losses)) == middle


def test_a_denser_sweep_says_the_same():
    dense = np.geomspace(RATES[0], RATES[-1], 561)
    sparse, fine = read_curve(RATES, typical()), read_curve(dense, typical(dense))
    for a, b in zip(readings(sparse), readings(fine), strict=True):
        assert decades(a, b) < 0.08


def test_steepest_is_per_decade_however_densely_a_stretch_is_swept():
    rates = np.sort(np.append(RATES, np.geomspace(0.7 * DROP, 1.5 * DROP, 60)))
    assert decades(read_curve(rates, typical(rates)).steepest, DROP) < 0.15


def test_noise_is_the_standard_deviation_of_the_losses():
    losses = np.linspace(3, 2, 20_000) + np.random.default_rng(0).normal(0, 0.05, size=20_000)
    assert learning_rate._noise(losses)[-1] == pytest.approx(0.05, rel=0.03)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_losses_that_are_not_finite_end_the_curve(broken):
    losses = typical(noise=0.02)
    whole = read_curve(RATES[:85], losses[:85])
    losses[85] = broken  # before the explosion
    curve = read_curve(RATES, losses)
    assert curve.losses == whole.losses
    assert len(curve.smoothed) == len(curve.learning_rates) == 85
    assert readings(curve) == readings(whole)
    assert whole.diverges_at is None
    assert curve.diverges_at == RATES[85]


def test_divergence_is_seen_before_the_losses_break():
    losses = typical(noise=0.02)
    unbroken = read_curve(RATES, losses)
    losses[130:] = math.nan
    assert read_curve(RATES, losses).diverges_at == unbroken.diverges_at < RATES[130]


def test_what_comes_after_divergence_is_not_read():
    """A network that explodes and dies may end on a lower loss than any it learned its way to."""
    losses = typical(noise=0.02)
    curve = read_curve(RATES, losses)
    losses[125:] = 0.5
    assert readings(read_curve(RATES, losses)) == readings(curve)


def test_a_network_that_falls_silent_has_diverged():
    """It goes back to chance, which is not above the loss it began with."""
    x = np.log10(RATES)
    losses = np.where(x < -1, 2.6 - 0.8 / (1 + np.exp(-(x + 3) / 0.25)), 2.303)
    assert 0.1 <= read_curve(RATES, losses).diverges_at < 0.3


def test_a_falling_curve_has_a_suggestion_and_no_divergence():
    curve = read_curve(RATES, -np.log10(RATES))
    assert curve.diverges_at is None
    assert curve.minimum == RATES[-1]
    assert decades(curve.suggestion, 10 ** ((-5.5 + 1) / 2)) < 0.1  # the warm-up isn't read
    assert curve.start == curve.suggestion


def test_a_rising_curve_has_no_suggestion():
    curve = read_curve(RATES, np.log10(RATES))
    assert (curve.valley, curve.steepest, curve.minimum, curve.minimum_tenth) == (None,) * 4
    assert curve.diverges_at < 1e-5
    with pytest.raises(UserError, match=r"between 1e-06 and 10 the loss never falls .* diverges at"):
        _ = curve.suggestion
    assert curve.start == curve.diverges_at / 10


@pytest.mark.parametrize("seed", [None, *range(10)])
def test_a_flat_curve_has_no_suggestion(seed):
    noise = 0.0 if seed is None else 0.05 * np.random.default_rng(seed).normal(size=141)
    curve = read_curve(RATES, np.full(141, 2.302585) + noise)
    assert curve.diverges_at is None
    assert curve.to_dict()["suggestion"] is None
    with pytest.raises(UserError, match="set one by hand"):
        _ = curve.suggestion
    with pytest.raises(UserError, match="set one by hand"):
        _ = curve.start


@pytest.mark.parametrize(
    ("rates", "losses", "message"),
    [
        (np.geomspace(1e-6, 1, 12), np.linspace(3, 2, 12), "11 losses to read, not counting .* in more steps"),
        (RATES, np.append(np.linspace(3, 2, 20), [math.nan] * 121), "10 losses to read before .* nan at 1e-05"),
        (np.geomspace(1e-3, 2e-3, 100), np.linspace(3, 2, 100), "0 losses .* wider range"),
        (RATES, np.full(141, math.inf), "0 losses .* inf at 1e-06.* Start lower"),
        ([], [], "0 losses to read"),
    ],
)
def test_too_few_losses_say_what_to_do(rates, losses, message):
    with pytest.raises(UserError, match=message):
        read_curve(rates, losses)


def test_just_enough_losses_are_read():
    enough = 10 + MIN_LOSSES  # ten are the warm-up: half a decade
    assert read_curve(RATES[:enough], typical()[:enough]).losses
    with pytest.raises(UserError, match=f"{MIN_LOSSES - 1} losses to read"):
        read_curve(RATES[: enough - 1], typical()[: enough - 1])


@pytest.mark.parametrize(
    ("rates", "losses", "message"),
    [
        (RATES, np.ones(3), "141 learning rates and 3 losses"),
        (RATES - RATES[0], np.ones(141), "positive and rise"),
        (RATES[::-1], np.ones(141), "positive and rise"),
        (np.full(141, 0.1), np.ones(141), "positive and rise"),
        (np.append(RATES[:-1], math.nan), np.ones(141), "positive and rise"),
    ],
)
def test_sweeps_that_make_no_sense_are_refused(rates, losses, message):
    with pytest.raises(ValueError, match=message):
        read_curve(rates, losses)


def test_a_curve_survives_json():
    curve = read_curve(RATES, typical(noise=0.02))
    stored = json.loads(json.dumps(curve.to_dict()))
    assert stored.pop("suggestion") == curve.suggestion
    assert stored.pop("minimum_tenth") == curve.minimum_tenth
    assert LearningRateCurve(**{k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}) == curve


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_scaling_and_shifting_the_losses_move_no_reading(seed, factor, shift):
    losses = typical(noise=0.03, seed=seed)
    here, there = read_curve(RATES, losses), read_curve(RATES, factor * losses + shift)
    assert readings(there) == pytest.approx(readings(here))
    assert there.diverges_at == here.diverges_at


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-4, 1e4))
def test_scaling_the_learning_rates_scales_every_reading(seed, factor):
    losses = typical(noise=0.03, seed=seed)
    here, there = read_curve(RATES, losses), read_curve(factor * RATES, losses)
    assert readings(there) == pytest.approx([factor * reading for reading in readings(here)])
    assert there.diverges_at == pytest.approx(factor * here.diverges_at)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e30, 1e30), min_size=60, max_size=60))
def test_any_losses_give_readings_inside_the_sweep(losses):
    rates = np.geomspace(1e-5, 1, 60)
    curve = read_curve(rates, losses)
    found = [reading for reading in (curve.valley, curve.steepest, curve.minimum) if reading is not None]
    assert all(rates[0] <= reading <= rates[-1] for reading in [*found, curve.diverges_at or 1.0])
    assert len(found) in (0, 3)

"""Reads a learning-rate range test: smooths the losses of one sweep of rising learning rates and suggests a rate.

The sweep takes one training step at each of many log-spaced learning rates (Smith 2015, arXiv 1506.01186). All rules
work on log10 of the learning rate, in which the steps are equal, and don't depend on the losses' offset or scale.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lit_cifar.utils.errors import UserError

SMOOTHING = 0.25
"""Decades of learning rate after which a loss has the weight 1/e in the moving average, and by which it lags."""

WARM_UP = 2 * SMOOTHING
"""Decades at the start that no rule uses: there the average is as noisy as the losses."""

CLEAR = 4.0
"""A fall or a rise is clear if it exceeds this many standard deviations of the losses' noise."""

GIVEN_BACK = 0.5
"""The loss diverges when it has risen again by this share of its fall so far."""

MIN_LOSSES = 25
"""With fewer losses after the warm-up, noise looks like a fall: in 3 % of flat curves of 30 losses, in 0 % of 100."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LearningRateCurve:
    """One range test up to its first loss that isn't finite, and the result of each rule.

    A result is None where the loss never falls clearly (`CLEAR`) before it diverges.
    """

    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    """The bias-corrected exponential moving average of the losses over log10 of the learning rate (`SMOOTHING`)."""
    diverges_at: float | None
    """The first learning rate at which the loss isn't finite, or the smoothed loss has risen clearly and by half of its
    fall so far; None if neither happens."""
    valley: float | None = None
    """The middle of the longest stretch over which the smoothed loss falls (as fastai's rule of that name)."""
    steepest: float | None = None
    """Where the loss falls fastest per decade, corrected for the smoothing's lag."""
    minimum: float | None = None
    """Where the smoothed loss is lowest."""

    @property
    def minimum_tenth(self) -> float | None:
        """A tenth of the learning rate with the lowest smoothed loss."""
        return None if self.minimum is None else self.minimum / 10

    @property
    def suggestion(self) -> float:
        """The valley's learning rate: the rule that the only public comparison favours (fastai PR #3377).

        Raises:
            UserError: the loss never falls clearly.
        """
        if self.valley is not None:
            return self.valley
        first, last = self.learning_rates[0], self.learning_rates[-1]
        diverged = "" if self.diverges_at is None else f" and diverges at {self.diverges_at:.2g}"
        raise UserError(
            f"The range test suggests no learning rate: between {first:.2g} and {last:.2g} the loss never falls by "
            f"more than {CLEAR:g} times its noise{diverged}. Sweep a wider range in more steps, or, if this network "
            "doesn't learn at any learning rate, set one by hand."
        )

    @property
    def start(self) -> float:
        """Where confirm runs start: the suggestion; without one, a decade below where the loss diverges.

        Raises:
            UserError: the loss neither falls clearly nor diverges.
        """
        if self.valley is None and self.diverges_at is not None:
            return self.diverges_at / 10
        return self.suggestion

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with every reading; the suggestion is None where there is none."""
        return {**asdict(self), "minimum_tenth": self.minimum_tenth, "suggestion": self.valley}


def read_curve(learning_rates: Sequence[float], losses: Sequence[float]) -> LearningRateCurve:
    """Smooth and read a range test's raw losses.

    Raises:
        ValueError: the two differ in length, or the learning rates aren't positive and rising.
        UserError: too few losses before the first that isn't finite.
    """
    rates, raw, broken_at = _finite_part(learning_rates, losses)
    log_rates = np.log10(rates)
    average = _average(log_rates)
    smoothed = raw[0] + average @ (raw - raw[0])  # from the first loss on, so that a flat curve stays exactly flat
    fall, diverges = _fall(smoothed, _noise(raw), start=_warm_up(rates))
    readings = {}
    if fall is not None:
        readings = {
            "valley": _valley(log_rates[fall], smoothed[fall]),
            "steepest": _steepest(log_rates, smoothed, average, fall),
            "minimum": log_rates[fall][-1],
        }
    return LearningRateCurve(
        learning_rates=tuple(rates.tolist()),
        losses=tuple(raw.tolist()),
        smoothed=tuple(smoothed.tolist()),
        diverges_at=broken_at if diverges is None else float(rates[diverges]),
        **{name: float(10**reading) for name, reading in readings.items()},
    )


def _finite_part(learning_rates: Sequence[float], losses: Sequence[float]) -> tuple[Floats, Floats, float | None]:
    """Both up to the first loss that isn't finite, and the learning rate of that one."""
    rates, raw = np.asarray(learning_rates, dtype=float), np.asarray(losses, dtype=float)
    if rates.shape != raw.shape or rates.ndim != 1:
        raise ValueError(f"{rates.size} learning rates and {raw.size} losses: one loss belongs to each learning rate.")
    if not (np.all(rates > 0) and np.all(np.diff(rates) > 0)):
        raise ValueError("The learning rates of a range test must be positive and rise from each to the next.")
    end = int(np.argmin(np.append(np.isfinite(raw), False)))
    broken_at = float(rates[end]) if end < len(raw) else None
    usable = end - _warm_up(rates[:end])
    if usable < MIN_LOSSES:
        cut = "" if broken_at is None else f" before the loss turns {raw[end]} at {broken_at:.2g}"
        remedy = "Sweep in more steps or over a wider range" if broken_at is None else "Start lower, in more steps"
        raise UserError(
            f"The range test has {usable} losses to read{cut}, not counting its first {WARM_UP:g} decades; it takes at "
            f"least {MIN_LOSSES}. {remedy}: 100 steps over 6 decades read well."
        )
    return rates[:end], raw[:end], broken_at


def _warm_up(rates: Floats) -> int:
    """The number of learning rates at the start that no rule uses."""
    # a point exactly at the edge must fall on the same side whatever the first learning rate
    return int(np.count_nonzero(rates < rates[:1] * 10 ** (WARM_UP - 1e-9)))


def _average(log_rates: Floats) -> Floats:
    """The matrix [n, n] of the exponential moving average: row i weighs points 0 to i by e^(-distance / SMOOTHING).

    Each row sums to 1: that is the bias correction, exact for any spacing.
    """
    distance = np.maximum(log_rates[:, None] - log_rates, 0.0)
    weights = np.tril(np.exp(-distance / SMOOTHING))
    averages: Floats = weights / weights.sum(axis=1, keepdims=True)
    return averages


def _noise(losses: Floats) -> Floats:
    """The noise's standard deviation as judged by the losses up to each point; infinite for the first two.

    A smooth curve hardly bends between neighbours, so second differences are noise: of standard deviation √6 times
    that of a loss, and of mean absolute value √(2/π) times that again.
    """
    bends = np.abs(np.diff(losses, 2)) / np.sqrt(6 * 2 / np.pi)
    return np.concatenate([[np.inf] * 2, np.cumsum(bends) / np.arange(1, len(bends) + 1)])


def _fall(smoothed: Floats, noise: Floats, *, start: int) -> tuple[slice | None, int | None]:
    """The points from the warm-up's end to the lowest, if the loss falls clearly there, and the point of divergence."""
    diverges = _divergence(smoothed[start:], noise[start:])
    end = len(smoothed) if diverges is None else start + diverges
    low = start + int(np.argmin(smoothed[start:end]))
    clear = smoothed[start : low + 1].max() - smoothed[low] > CLEAR * noise[low]
    return slice(start, low + 1) if clear else None, None if diverges is None else end


def _divergence(smoothed: Floats, noise: Floats) -> int | None:
    """The first point that has clearly given back its share of the largest fall so far."""
    rise = smoothed - np.minimum.accumulate(smoothed)
    fall = np.maximum.accumulate(np.maximum.accumulate(smoothed) - smoothed)
    risen = rise > np.maximum(GIVEN_BACK * fall, CLEAR * noise)
    return int(np.argmax(risen)) if risen.any() else None


def _valley(log_rates: Floats, losses: Floats) -> float:
    """The middle of the longest fall, by patience sorting.

    The fall is the longest subsequence of ever lower losses: it steps over points that noise has lifted. Its first
    points may lie far apart on the plateau before the fall, so only its end and its number of points are taken from
    it, as fastai does: the fall is as many neighbours up to that end.
    """
    piles: list[float] = []
    lengths = []
    for loss in losses:
        pile = bisect_left(piles, -loss)
        piles[pile : pile + 1] = [-loss]
        lengths.append(pile + 1)
    end = int(np.argmax(lengths))
    start = end - lengths[end] + 1
    return float(log_rates[start] + log_rates[end]) / 2


def _steepest(log_rates: Floats, smoothed: Floats, average: Floats, fall: slice) -> float:
    """Where the smoothed losses, smoothed once more, fall fastest; once isn't enough for slopes between neighbours.

    The learning rates are averaged twice as the losses were: they lag by as much, and the slope is in its place.
    """
    places = average @ average @ log_rates
    slopes = np.gradient(average @ smoothed, places)
    return float(places[fall][np.argmin(slopes[fall])])

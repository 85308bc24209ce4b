"""Estimates over seeds and comparisons of paired runs: Student's t, log scales, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

ALPHA = 0.05
"""The error rate of a study: the accepted chance that any of its answers is false."""

SMALLEST = 1e-4
"""Smaller values count as this on a log scale; it is the resolution of the times and of scores on 10,000 images."""

EXACT_PAIRS = 14
"""Up to this many pairs the sign-flip test goes through all 2**n sign flips; beyond, through 2**14 random ones."""

Floats = npt.NDArray[np.float64]
Better = Literal["higher", "lower"]
Scale = Literal["difference", "ratio"]
Threshold = Literal[-1, 0, 1]
"""The value that a gain is compared with: a loss of the margin, zero, or a gain of the margin."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % t interval; the ends are nan with fewer than two values."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The values of two runs by seed, and how they are compared.

    Args:
        treatment: One value for each seed; nan where the run is missing or has no value.
        baseline: The values of the same seeds.
        better: Which direction of the measure is the good one.
        scale: `difference` compares by treatment − baseline, `ratio` by treatment / baseline.
        margin: The smallest difference that matters, in the measure's unit; 0 if any difference does.
        relative: The margin is a share of the baseline, not a number of units; only with the scale `ratio`.

    Raises:
        ValueError: If the two don't pair up, or the margin is negative or not finite.
    """

    treatment: Sequence[float]
    baseline: Sequence[float]
    better: Better
    scale: Scale = "difference"
    margin: float = 0.0
    relative: bool = False

    def __post_init__(self) -> None:
        if len(self.treatment) != len(self.baseline):
            raise ValueError(
                f"{len(self.treatment)} treatment and {len(self.baseline)} baseline values don't pair up by seed."
            )
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"margin={self.margin} is out of range: use a finite number of at least 0.")

    def first(self, seeds: int) -> Pairs:
        """The pairs of the first seeds."""
        return replace(self, treatment=self.treatment[:seeds], baseline=self.baseline[:seeds])

    def finite(self) -> tuple[Floats, Floats]:
        """Both runs' values for the seeds for which both have one."""
        both = np.asarray([self.treatment, self.baseline], dtype=float)
        treatment, baseline = both[:, np.isfinite(both).all(axis=0)]
        return treatment, baseline

    def differences(self) -> Floats:
        """Treatment minus baseline for each complete pair; differences of logarithms on the scale `ratio`."""
        treatment, baseline = self.finite()
        if self.scale == "ratio":
            return np.round(_log(treatment) - _log(baseline), 6)
        return _rounded_differences(treatment, baseline)

    def gains(self) -> Floats:
        """The differences, turned so that more is better."""
        return self.differences() if self.better == "higher" else -self.differences()

    def margin_as_gain(self, side: Threshold) -> float:
        """A threshold on the scale of `gains`."""
        if self.scale == "difference":
            return side * self.margin
        sign = 1 if self.better == "higher" else -1
        ratio = 1 + sign * side * self._margin_as_share()
        return sign * math.log(ratio) if ratio > 0 else sign * -math.inf

    def _margin_as_share(self) -> float:
        _, baseline = self.finite()
        if self.relative or not len(baseline):
            return self.margin
        return self.margin / math.exp(_log(baseline).mean())


@dataclass(frozen=True)
class Comparison:
    """The result of the pairs of one question, in whichever direction is better.

    Args:
        mean: The mean difference (treatment − baseline), or the geometric mean of the ratios (treatment / baseline).
        low: The lower end of its t interval; nan with fewer than two pairs.
        high: The upper end.
        level: The interval's confidence level.
        n: The number of complete pairs.
        scale: Whether `mean`, `low` and `high` are differences or ratios.
        all_equal: All pairs have the same difference, so there is no spread to estimate.
    """

    mean: float
    low: float
    high: float
    level: float
    n: int
    scale: Scale
    all_equal: bool

    @property
    def includes_no_difference(self) -> bool:
        """Whether the interval contains no difference, which is 0, or 1 for ratios."""
        return self.low <= (0.0 if self.scale == "difference" else 1.0) <= self.high


def estimate(values: Sequence[float], *, log: bool = False) -> Estimate:
    """Estimate a mean over seeds with its 95 % t interval; values that aren't finite are left out.

    Args:
        values: One value for each seed.
        log: Work with logarithms: gives the geometric mean, and an interval that stays above 0.
    """
    finite = np.asarray([value for value in values if math.isfinite(value)], dtype=float)
    mean, low, high = mean_and_interval(_log(finite) if log else finite, 1 - ALPHA)
    if log:
        mean, low, high = (math.exp(value) for value in (mean, low, high))
    return Estimate(mean, low, high, len(finite))


def compare(pairs: Pairs, *, level: float = 1 - ALPHA) -> Comparison:
    """Compare two runs by the mean of their paired differences (or log ratios) and its t interval."""
    differences = pairs.differences()
    found = mean_and_interval(differences, level)
    mean, low, high = (math.exp(value) for value in found) if pairs.scale == "ratio" else found
    all_equal = len(differences) > 1 and bool(np.all(differences == differences[0]))
    return Comparison(mean, low, high, level, len(differences), pairs.scale, all_equal)


def mean_and_interval(values: Floats, level: float) -> tuple[float, float, float]:
    """Give the mean of some values and the ends of its t interval; nan for what too few values don't give."""
    if not len(values):
        return math.nan, math.nan, math.nan
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * _standard_error(values)
    return mean, mean - half, mean + half


def t_test(values: Floats, threshold: float = 0.0) -> float:
    """Give the two-sided p-value of a t test of "the mean is the threshold".

    Values that are all equal have no spread to estimate; their p-value is that of the sign-flip test, 2 / 2**n.
    """
    distance = abs(float(values.mean()) - threshold) if len(values) > 1 else 0.0
    if distance < 1e-12:  # but for rounding, the mean is the threshold
        return 1.0
    error = _standard_error(values)
    if error == 0:
        return 2.0 ** (1 - len(values))
    return float(2 * stats.t.sf(distance / error, len(values) - 1))


def sign_flip_test(values: Floats) -> float:
    """Give the two-sided p-value of the permutation test that flips signs (Good 2005), a cross-check of the t test."""
    if len(values) < 2:
        return 1.0  # a single value is as large as its mirror image
    test = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=2**EXACT_PAIRS, rng=np.random.default_rng(0)
    )
    return float(test.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being several (Holm 1979): rejecting those up to α errs in at most α of the studies."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def _standard_error(values: Floats) -> float:
    """The standard error of the mean; exactly 0 for equal values, whatever their mean rounds to."""
    return 0.0 if np.all(values == values[0]) else float(values.std(ddof=1)) / math.sqrt(len(values))


def _log(values: Floats) -> Floats:
    return np.log(np.maximum(values, SMALLEST))


def _rounded_differences(treatment: Floats, baseline: Floats) -> Floats:
    """Differences to six digits of the larger value.

    0.5432 - 0.5411 and 0.5021 - 0.5 are the same difference, but not as floats, least of all single-precision ones.
    The sign-flip test counts ties, so it has to see that they are the same.
    """
    size = np.maximum(np.abs(treatment), np.abs(baseline))
    factor = 10.0 ** (5 - np.floor(np.log10(np.where(size > 0, size, 1.0))))
    return np.rint((treatment - baseline) * factor) / factor

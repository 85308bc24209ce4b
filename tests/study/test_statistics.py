"""Estimates, paired comparisons and p-values: by hand, by exact enumeration, and by what must hold for any numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lit_cifar.study.statistics import Estimate, Pairs, compare, estimate, holm, sign_flip_test, t_test

accuracies = st.integers(4_000, 6_000).map(lambda correct: correct / 10_000)
pairs = st.lists(st.tuples(accuracies, accuracies), min_size=2, max_size=8)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def against_zero(differences, better="higher", **options):
    return Pairs(treatment=list(differences), baseline=[0.0] * len(differences), better=better, **options)


def test_estimate_is_the_textbook_t_interval():
    # the squared deviations sum to 8 over 3 degrees of freedom, for which the t table says 3.182446
    found = estimate([1.0, 3.0, 3.0, 5.0])
    half = 3.182446 * math.sqrt(8 / 3) / 2
    assert (found.mean, found.n) == (3.0, 4)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half), abs=1e-5)


def test_an_estimate_on_the_log_scale_is_a_geometric_mean_and_stays_above_zero():
    values = [0.01, 0.04, 0.16]
    found, linear = estimate(values, log=True), estimate(values)
    half = 4.302653 * math.log(4) / math.sqrt(3)  # the t table, 2 degrees of freedom
    assert found.mean == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((0.04 * math.exp(-half), 0.04 * math.exp(half)), rel=1e-5)
    assert linear.low < 0 < found.low


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("values", "mean", "n"), [([0.5], 0.5, 1), ([0.5, math.nan, math.inf], 0.5, 1), ([], None, 0)])
def test_estimate_gives_no_interval_below_two_values(values, mean, n, log):
    found = estimate(values, log=log)
    assert found.n == n
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.mean) if mean is None else found.mean == pytest.approx(mean)


def test_estimate_of_equal_values_is_a_point():
    assert estimate([0.25] * 3) == Estimate(mean=0.25, low=0.25, high=0.25, n=3)


def test_the_t_test_is_scipys():
    values = np.asarray([0.012, 0.004, -0.003, 0.009, 0.001])
    for threshold in (0.0, 0.005, -0.01):
        assert t_test(values, threshold) == pytest.approx(stats.ttest_1samp(values, threshold).pvalue)


def test_the_t_test_of_equal_values_counts_sign_flips_instead_of_dividing_by_zero():
    assert t_test(np.full(6, 0.1), 0.0) == 2 / 2**6
    assert t_test(np.full(6, 0.1), 0.1) == 1.0
    assert t_test(np.zeros(8), 0.0) == 1.0


@pytest.mark.parametrize("values", [[], [0.3]])
def test_fewer_than_two_pairs_are_no_evidence(values):
    assert t_test(np.asarray(values), 0.0) == sign_flip_test(np.asarray(values)) == 1.0
    assert math.isnan(compare(against_zero(values)).low)


def test_an_infinite_margin_is_ruled_out():
    assert t_test(np.asarray([0.1, 0.2, 0.3]), math.inf) == 0.0


def test_the_sign_flip_test_is_the_share_of_sign_flips_as_extreme():
    differences = [0.012, 0.004, -0.003, 0.009, 0.001, 0.007, -0.0015]
    sums = np.asarray(list(itertools.product((1, -1), repeat=7))) @ differences
    expected = np.mean(np.abs(sums) >= sum(differences) - 1e-12)
    assert sign_flip_test(np.asarray(differences)) == pytest.approx(expected)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1, 1e3])
def test_differences_are_rounded_to_six_digits_in_any_unit(unit):
    """In units of 1e-4 the differences are 21, 21, 21 and -21: 10 of the 16 sign flips have a sum as far from zero."""
    treatment = np.asarray([0.5432, 0.5021, 0.4521, 0.5], dtype=np.float32) * unit
    baseline = np.asarray([0.5411, 0.5, 0.45, 0.5021], dtype=np.float32) * unit
    found = Pairs(treatment=treatment.tolist(), baseline=baseline.tolist(), better="higher")
    assert sign_flip_test(found.differences()) == 10 / 16
    assert compare(found).mean == pytest.approx(0.00105 * unit)


def test_the_sign_flip_test_of_many_pairs_is_sampled_and_seeded():
    differences = np.random.default_rng(0).normal(0.6, 1, size=18)
    assert sign_flip_test(differences) == sign_flip_test(differences)
    signs = np.random.default_rng(1).choice([-1, 1], size=(50_000, 18))
    expected = np.mean(np.abs(signs @ differences) >= abs(differences.sum()))
    assert sign_flip_test(differences) == pytest.approx(expected, abs=0.01)


def test_a_comparison_is_the_t_interval_of_the_paired_differences():
    found = compare(Pairs(treatment=[0.6, 0.7, 0.8], baseline=[0.5, 0.5, 0.7], better="higher"), level=0.9)
    half = 2.919986 * np.std([0.1, 0.2, 0.1], ddof=1) / math.sqrt(3)  # the t table: 2 degrees of freedom, 90 %
    assert found.mean == pytest.approx(0.4 / 3)
    assert (found.low, found.high) == pytest.approx((0.4 / 3 - half, 0.4 / 3 + half))
    assert (found.level, found.n, found.all_equal) == (0.9, 3, False)


def test_ratios_are_compared_on_the_log_scale():
    found = compare(Pairs(treatment=[1.0, 2.0, 8.0], baseline=[2.0, 2.0, 4.0], better="lower", scale="ratio"))
    half = 4.302653 * math.log(2) / math.sqrt(3)
    assert found.mean == pytest.approx(1.0, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((math.exp(-half), math.exp(half)), rel=1e-5)


def test_equal_differences_give_a_point_and_say_so():
    # 0.3 - 0.2 and 0.2 - 0.1 are not the same float
    found = compare(Pairs(treatment=[0.3, 0.2, 0.7], baseline=[0.2, 0.1, 0.6], better="higher"))
    assert found.all_equal
    assert found.low == found.high == found.mean == pytest.approx(0.1)


def test_values_that_are_missing_drop_with_their_pair():
    nan = math.nan
    found = compare(
        Pairs(treatment=[0.6, nan, 0.7, 0.65, 1.0], baseline=[0.5, 0.5, 0.5, math.inf, nan], better="higher")
    )
    assert (found.n, found.mean) == (2, pytest.approx(0.15))


@pytest.mark.parametrize(
    ("options", "gain", "loss"),
    [
        ({"better": "higher", "margin": 0.01}, 0.01, -0.01),
        ({"better": "lower", "margin": 2.0}, 2.0, -2.0),
        ({"better": "lower", "scale": "ratio", "margin": 0.05, "relative": True}, -math.log(0.95), -math.log(1.05)),
        ({"better": "lower", "scale": "ratio", "margin": 0.1}, -math.log(0.8), -math.log(1.2)),  # 0.1 of 0.5
        ({"better": "higher", "scale": "ratio", "margin": 0.1}, math.log(1.2), math.log(0.8)),
        ({"better": "lower", "scale": "ratio", "margin": 0.6}, math.inf, -math.log(2.2)),  # more than there is to gain
    ],
)
def test_margins_are_gains_and_losses_on_the_scale_of_the_test(options, gain, loss):
    found = Pairs(treatment=[0.4, 0.6], baseline=[0.25, 1.0], **options)  # the baseline's geometric mean is 0.5
    assert found.margin_as_gain(1) == pytest.approx(gain)
    assert found.margin_as_gain(-1) == pytest.approx(loss)
    assert found.margin_as_gain(0) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"treatment": [1.0], "baseline": [1.0, 2.0]}, "1 treatment and 2 baseline"),
        ({"treatment": [1.0], "baseline": [1.0], "margin": -0.1}, "margin=-0.1"),
        ({"treatment": [1.0], "baseline": [1.0], "margin": math.nan}, "margin=nan"),
        ({"treatment": [1.0], "baseline": [1.0], "margin": math.inf}, "margin=inf"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pairs(**arguments, better="higher")


def test_holm_by_hand():
    # sorted 0.01·4, 0.02·3, 0.03·2 (not below the one before), 0.5·1
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([]) == []


@given(p_values)
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p):
    adjusted = holm(p)
    assert all(raw <= corrected <= 1 for raw, corrected in zip(p, adjusted, strict=True))
    ordered = [adjusted[i] for i in np.argsort(p, kind="stable")]
    assert ordered == sorted(ordered)
    assert min(adjusted) == pytest.approx(min(1, len(p) * min(p)))


@given(p_values, st.randoms())
def test_holm_does_not_care_about_order(p, random):
    shuffled = random.sample(range(len(p)), len(p))
    assert holm([p[i] for i in shuffled]) == [holm(p)[i] for i in shuffled]


@settings(max_examples=40, deadline=None)
@given(pairs, st.sampled_from(["difference", "ratio"]))
def test_swapping_the_two_mirrors_the_comparison(both, scale):
    treatment, baseline = np.asarray(both).T.tolist()
    there = compare(Pairs(treatment=treatment, baseline=baseline, better="higher", scale=scale))
    back = compare(Pairs(treatment=baseline, baseline=treatment, better="higher", scale=scale))
    mirrored = [1 / x if scale == "ratio" else -x for x in (there.mean, there.high, there.low)]
    assert (back.mean, back.low, back.high) == pytest.approx(tuple(mirrored))


@settings(max_examples=40, deadline=None)
@given(pairs, st.integers(-3_000, 3_000).map(lambda correct: correct / 10_000))
def test_a_shift_of_both_changes_nothing(both, shift):
    treatment, baseline = np.asarray(both).T
    here, there = (
        compare(Pairs(treatment=(treatment + by).tolist(), baseline=(baseline + by).tolist(), better="higher"))
        for by in (0.0, shift)
    )
    assert (there.mean, there.low, there.high) == pytest.approx((here.mean, here.low, here.high))
    assert there.all_equal == here.all_equal


@settings(max_examples=40, deadline=None)
@given(pairs, st.sampled_from([0.9, 0.95, 0.99]))
def test_the_interval_leaves_out_just_the_thresholds_that_the_test_rejects(both, level):
    found = against_zero([one - other for one, other in both])
    compared = compare(found, level=level)
    if compared.all_equal:
        return
    for end in (compared.low, compared.high):
        assert t_test(found.differences(), end) == pytest.approx(1 - level)

"""Studies with a known answer: made-up results, exact enumerations and simulated worlds."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from lit_cifar.study import statistics
from lit_cifar.study.statistics import Comparison, compare_paired, estimate, holm, judge, minimum_seeds

SEED_SD = 0.6
"""How much test accuracy of the 20×100 nets moves between seeds, in percentage points."""

accuracies = st.integers(4_000, 6_000).map(lambda correct: correct / 10_000)
pairs = st.lists(st.tuples(accuracies, accuracies), min_size=2, max_size=8)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 499)


def simulate(rng, *, seeds, gains, better="higher"):
    """One study of an untrue world: treatments gain so many points over one shared baseline, seeds are noise."""
    baseline = 54 + SEED_SD * rng.normal(size=seeds)
    treatments = [54 + gain + SEED_SD * rng.normal(size=seeds) for gain in gains]
    return judge([compare_paired(treatment, baseline, better=better) for treatment in treatments])


def test_estimate_is_the_textbook_t_interval():
    # the squared deviations sum to 8 over 3 degrees of freedom, for which the t table says 3.182446
    found = estimate([1.0, 3.0, 3.0, 5.0])
    half = 3.182446 * math.sqrt(8 / 3) / 2
    assert (found.mean, found.n) == (3.0, 4)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half), abs=1e-5)


@pytest.mark.parametrize(("values", "mean", "n"), [([0.5], 0.5, 1), ([0.5, math.nan, math.inf], 0.5, 1), ([], None, 0)])
def test_estimate_gives_no_interval_below_two_values(values, mean, n):
    found = estimate(values)
    assert found.n == n
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.mean) if mean is None else found.mean == mean


def test_estimate_of_equal_values_is_a_point():
    assert estimate([0.25] * 3) == statistics.Estimate(mean=0.25, low=0.25, high=0.25, n=3)


def test_p_value_is_the_share_of_sign_flips_as_extreme():
    differences = [0.012, 0.004, -0.003, 0.009, 0.001, 0.007, -0.0015]
    sums = np.asarray(list(itertools.product((1, -1), repeat=7))) @ differences
    expected = np.mean(np.abs(sums) >= sum(differences) - 1e-12)
    assert compare_paired(differences, [0.0] * 7, better="higher").p_value == pytest.approx(expected)


def test_p_value_counts_ties_that_floats_hide():
    """In units of 1e-4 the differences are 21, 21, 21 and -21: 10 of the 16 sign flips have a sum as far from zero."""
    treatment = np.asarray([0.5432, 0.5021, 0.4521, 0.5], dtype=np.float32)
    baseline = np.asarray([0.5411, 0.5, 0.45, 0.5021], dtype=np.float32)
    found = compare_paired(treatment.tolist(), baseline.tolist(), better="higher")
    assert found.p_value == 10 / 16
    assert found.difference == pytest.approx(0.00105)


def test_p_value_of_many_pairs_is_sampled_and_seeded():
    rng = np.random.default_rng(0)
    treatment, baseline = rng.normal(0.6, 1, size=18), rng.normal(size=18)
    first, again = (compare_paired(treatment, baseline, better="higher", margin=0.1, seed=4) for _ in range(2))
    assert first == again
    assert first.p_value * (2**16 + 1) / 2 == pytest.approx(round(first.p_value * (2**16 + 1) / 2))  # so many flips
    signs = rng.choice([-1, 1], size=(50_000, 18))
    difference = treatment - baseline
    assert first.p_value == pytest.approx(np.mean(np.abs(signs @ difference) >= abs(difference.sum())), abs=0.01)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3])
def test_differences_are_rounded_to_six_digits_in_any_unit(unit):
    """Accuracies in percent, losses of thousandths: the ties above are found, and no difference is rounded away."""
    treatment, baseline = np.asarray([0.5432, 0.5021, 0.4521, 0.5]), np.asarray([0.5411, 0.5, 0.45, 0.5021])
    found = compare_paired(treatment * unit, baseline * unit, better="higher")
    assert found.p_value == 10 / 16
    assert found.difference == pytest.approx(0.00105 * unit)


@pytest.mark.parametrize("n", [2, 5, 8])
def test_smallest_p_is_reached_when_all_differences_agree(n):
    found = compare_paired([0.1 + 0.01 * i for i in range(n)], [0.0] * n, better="higher")
    assert found.p_value == found.smallest_p == 2 / 2**n


def test_interval_matches_an_independent_bca():
    """Efron's formula written out (one loop for the jackknife), on its own resamples."""
    differences = np.asarray([0.4, 1.1, 0.2, 2.9, 0.7, 0.9, 0.1, 1.6])
    means = np.random.default_rng(1).choice(differences, size=(200_000, 8)).mean(axis=1)
    bias = norm.ppf(np.mean(means < differences.mean()) + np.mean(means == differences.mean()) / 2)
    jackknife = np.asarray([np.delete(differences, i).mean() for i in range(8)])
    spread = jackknife.mean() - jackknife
    acceleration = (spread**3).sum() / (6 * (spread**2).sum() ** 1.5)
    z = bias + norm.ppf([0.025, 0.975])
    expected = np.quantile(means, norm.cdf(bias + z / (1 - acceleration * z)))
    found = compare_paired(differences, np.zeros(8), better="higher")
    assert found.interval == "bca"
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.03)


def test_equal_differences_give_a_point_and_say_so():
    # 0.3 - 0.2 and 0.2 - 0.1 are not the same float
    found = compare_paired([0.3, 0.2, 0.7], [0.2, 0.1, 0.6], better="higher")
    assert found.interval == "all equal"
    assert found.low == found.high == found.difference == pytest.approx(0.1)
    assert found.p_value == 0.25


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_pairs_for_an_interval_say_so(n):
    found = compare_paired([0.6] * n, [0.5] * n, better="higher")
    assert (found.interval, found.p_value, found.n) == ("none", 1.0, n)
    assert math.isnan(found.low)
    assert math.isnan(found.difference) == (n == 0)
    assert judge([found])[0].answer == "can't tell"


def test_no_difference_at_all_is_no_evidence():
    found = compare_paired([0.5] * 8, [0.5] * 8, better="higher")
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert judge([found])[0].answer == "can't tell"


def test_failed_runs_drop_with_their_pair():
    nan = math.nan
    found = compare_paired([0.6, nan, 0.7, 0.65, 1.0], [0.5, 0.5, 0.5, math.inf, nan], better="higher")
    assert (found.n, found.dropped) == (2, 3)
    assert found.difference == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"treatment": [1.0], "baseline": [1.0, 2.0]}, "1 treatment and 2 baseline"),
        ({"treatment": [1.0], "baseline": [1.0], "margin": -0.1}, "margin=-0.1"),
        ({"treatment": [1.0], "baseline": [1.0], "margin": math.nan}, "margin=nan"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare_paired(**arguments, better="higher")


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


@pytest.mark.parametrize(("questions", "seeds"), [(1, 6), (3, 7), (4, 8), (6, 8), (7, 9), (25, 10)])
def test_minimum_seeds_are_just_enough(questions, seeds):
    assert minimum_seeds(questions) == seeds
    assert questions * 2 / 2**seeds <= 0.05 < questions * 2 / 2 ** (seeds - 1)


@pytest.mark.parametrize("arguments", [{"questions": 0}, {"alpha": 0.0}, {"alpha": 1.0}])
def test_minimum_seeds_refuses_nonsense(arguments):
    with pytest.raises(ValueError, match="use at least 1 question"):
        minimum_seeds(**arguments)


@pytest.mark.parametrize(("better", "answer"), [("higher", "yes"), ("lower", "no")])
def test_a_plain_gain_is_answered(better, answer):
    gain = [0.02, 0.015, 0.01, 0.03, 0.012, 0.018]
    verdict = judge([compare_paired(gain, [0.0] * 6, better=better)])[0]
    assert (verdict.answer, str(verdict), verdict.adjusted_p) == (answer, answer, 2 / 64)


def test_an_interval_that_touches_the_limit_decides_nothing():
    clear = compare_paired([0.02, 0.015, 0.01, 0.03, 0.012, 0.018], [0.0] * 6, better="higher", margin=0.05)
    assert judge([clear])[0].answer == "yes"
    assert judge([replace(clear, low=-0.01)])[0].answer == "no"
    for touching in ({"low": 0.0, "high": 0.06}, {"low": -0.01, "high": 0.05}):
        assert judge([replace(clear, **touching)])[0].answer == "can't tell"


def test_too_few_seeds_never_decide_and_name_the_number_needed():
    verdict = judge([compare_paired([0.9 + 0.01 * i for i in range(5)], [0.1] * 5, better="higher")])[0]
    assert (verdict.answer, verdict.seeds_needed) == ("can't tell", 6)
    assert str(verdict) == "can't tell with 5 seeds; it takes at least 6"


def test_enough_seeds_without_a_clear_difference_ask_for_no_number():
    undecided = compare_paired([0.1, -0.1, 0.2, -0.2, 0.05, 0.0], [0.0] * 6, better="higher")
    assert str(judge([undecided])[0]) == "can't tell with 6 seeds"


def test_more_questions_need_more_seeds():
    clear = compare_paired([0.02, 0.015, 0.01, 0.03, 0.012, 0.018], [0.0] * 6, better="higher")
    verdicts = judge([clear] * 2)
    assert [v.answer for v in verdicts] == ["can't tell"] * 2
    assert str(verdicts[0]) == "can't tell with 6 seeds; it takes at least 7"


def test_a_study_without_questions_has_no_verdicts():
    assert judge([]) == []


def test_a_gain_shown_too_small_to_be_worth_having_is_a_no():
    hardly = [0.001, -0.002, 0.002, -0.001, 0.0015, -0.0005, 0.0, 0.001]
    unbounded, bounded = (compare_paired(hardly, [0.0] * 8, better="higher", margin=m) for m in (0.0, 0.01))
    assert [v.answer for v in judge([unbounded])] == ["can't tell"]
    assert [v.answer for v in judge([bounded])] == ["no"]
    assert bounded.p_value == unbounded.p_value == unbounded.margin_p_value
    assert bounded.margin_p_value == bounded.smallest_p


def test_the_margin_is_on_the_better_side():
    """A loss that rises by 0.5 is worse; one that falls by 0.5 may be worth having."""
    change = np.asarray([0.5, 0.4, 0.6, 0.45, 0.55, 0.52, 0.48])
    worse, better = (compare_paired(s * change, np.zeros(7), better="lower", margin=0.9) for s in (1, -1))
    assert judge([worse])[0].answer == "no"
    assert judge([better])[0].answer == "yes"
    assert better.gain_interval == (-better.high, -better.low)
    for sign, direction in ((-1, "higher"), (1, "lower")):
        loss = compare_paired(sign * change, np.zeros(7), better=direction, margin=0.5)
        assert loss.margin_p_value == loss.smallest_p  # a loss as large as the margin is far below the margin


@settings(max_examples=40, deadline=None)
@given(pairs)
def test_swapping_the_two_negates_the_difference_and_mirrors_the_verdict(both):
    treatment, baseline = np.asarray(both).T
    there = compare_paired(treatment, baseline, better="higher")
    back = compare_paired(baseline, treatment, better="higher")
    assert (back.difference, back.low, back.high) == pytest.approx((-there.difference, -there.high, -there.low))
    assert back.p_value == there.p_value
    mirrored = {"yes": "no", "no": "yes", "can't tell": "can't tell"}
    assert judge([back])[0].answer == mirrored[judge([there])[0].answer]


@settings(max_examples=40, deadline=None)
@given(pairs)
def test_higher_is_better_exactly_when_the_negative_is_lower(both):
    treatment, baseline = np.asarray(both).T
    higher = compare_paired(treatment, baseline, better="higher", margin=0.05)
    lower = compare_paired(-treatment, -baseline, better="lower", margin=0.05)
    assert lower.margin_p_value == higher.margin_p_value
    assert lower.gain_interval == pytest.approx(higher.gain_interval)
    assert judge([lower])[0].answer == judge([higher])[0].answer


@settings(max_examples=40, deadline=None)
@given(pairs, st.integers(-3_000, 3_000).map(lambda correct: correct / 10_000))
def test_a_shift_of_both_changes_nothing(both, shift):
    treatment, baseline = np.asarray(both).T
    here = compare_paired(treatment, baseline, better="higher")
    there = compare_paired(treatment + shift, baseline + shift, better="higher")
    assert (there.difference, there.low, there.high) == pytest.approx((here.difference, here.low, here.high))
    assert (there.p_value, there.interval) == (here.p_value, here.interval)


@settings(max_examples=40, deadline=None)
@given(pairs)
def test_the_interval_holds_the_mean_and_stays_within_the_differences(both):
    treatment, baseline = np.asarray(both).T
    found = compare_paired(treatment, baseline, better="higher")
    smallest, largest = min(treatment - baseline), max(treatment - baseline)
    assert smallest - 1e-9 <= found.low <= found.difference <= found.high <= largest + 1e-9
    assert found.smallest_p <= found.p_value <= 1


@pytest.mark.usefixtures("few_resamples")
def test_false_verdicts_are_at_most_five_percent_in_an_exact_count():
    """With no difference every pattern of signs is as likely, so over all 2**7 of them the false rate is exact."""
    sizes = np.asarray([0.011, 0.0042, 0.0031, 0.0093, 0.0017, 0.0075, 0.0028])
    patterns = itertools.product([1], *[(1, -1)] * 6)  # the other half are mirror images
    answers = Counter(judge([compare_paired(sizes * p, sizes * 0, better="higher")])[0].answer for p in patterns)
    assert 0 < 1 - answers["can't tell"] / 64 <= 0.05
    assert answers["no"] == 0


@pytest.mark.usefixtures("few_resamples")
def test_false_verdicts_are_rare_in_simulated_studies():
    rng = np.random.default_rng(2)
    answers = [simulate(rng, seeds=8, gains=[0])[0].answer for _ in range(120)]
    assert np.mean([answer != "can't tell" for answer in answers]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 120)


@pytest.mark.usefixtures("few_resamples")
def test_a_study_of_six_questions_finds_two_points_with_eight_seeds():
    rng = np.random.default_rng(3)
    verdicts = [simulate(rng, seeds=8, gains=[2, 0, 0, 0, 0, 0])[0] for _ in range(15)]
    assert sum(v.answer == "yes" for v in verdicts) >= 10


@pytest.mark.slow
@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("gains", [[0] * 6, [2, 0, 0, 0, 0, 0]], ids=["no effects", "one effect"])
def test_a_study_of_six_questions_errs_at_all_in_at_most_five_percent(gains):
    rng = np.random.default_rng(4)
    wrong = [
        any(v.answer != "can't tell" for v in simulate(rng, seeds=8, gains=gains)[gains.count(2) :]) for _ in range(400)
    ]
    print(f"\nsix questions, gains {gains}: any false verdict in {np.mean(wrong):.3f} of 400 studies")
    assert np.mean(wrong) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.slow
@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize(
    ("seeds", "gain", "least", "most"),
    [
        (5, 0, 0, 0),
        (5, 1, 0, 0),
        (5, 2, 0, 0),
        (8, 0, 0, 0.05),
        (8, 1, 0.7, 0.9),
        (8, 2, 0.98, 1),
        (10, 0, 0, 0.05),
        (10, 1, 0.83, 0.97),
        (10, 2, 0.99, 1),
    ],
)
def test_power_and_coverage(seeds, gain, least, most):
    """The numbers quoted in the docs: `pytest -m slow -s -k power_and_coverage tests/study/test_statistics.py`."""
    rng = np.random.default_rng([seeds, gain])
    verdicts = [simulate(rng, seeds=seeds, gains=[gain])[0] for _ in range(1000)]
    decided = np.mean([v.answer != "can't tell" for v in verdicts])
    covered = np.mean([v.comparison.low <= gain <= v.comparison.high for v in verdicts])
    print(f"\n{seeds} seeds, gain {gain}: decided {decided:.3f}, BCa interval holds the gain in {covered:.3f}")
    noise = 3 * math.sqrt(0.05 * 0.95 / 1000)
    assert least <= decided <= most + noise * (gain == 0 and most > 0)
    assert 0.8 <= covered <= 0.95
    if gain:
        assert not any(v.answer == "no" for v in verdicts)


@pytest.mark.slow
@pytest.mark.usefixtures("few_resamples")
def test_a_margin_is_as_safe_as_zero():
    """A true gain of exactly the margin is called too small in at most 2.5 % of studies; no gain at all, in most."""
    rng = np.random.default_rng(5)

    def share_of_no(gain):
        noise = SEED_SD * rng.normal(size=(400, 2, 8))
        studies = [compare_paired(t + gain, b, better="higher", margin=1.0) for t, b in noise]
        return np.mean([judge([study])[0].answer == "no" for study in studies])

    assert share_of_no(1.0) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 400)
    assert share_of_no(0.0) >= 0.7


def test_the_rule_is_stated_with_its_numbers():
    assert "at most 0.05" in statistics.VERDICT_RULE
    assert "95% BCa" in statistics.VERDICT_RULE


def test_a_comparison_cannot_be_changed_afterwards():
    found = compare_paired([1.0, 2.0], [0.0, 0.0], better="higher")
    assert isinstance(found, Comparison)
    with pytest.raises(AttributeError):
        found.p_value = 0.0

"""Verdicts: when each answer is given, and how often it is false."""

from __future__ import annotations

import math
import typing

import pytest

from lit_cifar.figures import VERDICT_COLORS
from lit_cifar.study import verdicts
from lit_cifar.study.looks import Look, one_look
from lit_cifar.study.statistics import Pairs, holm, t_test
from lit_cifar.study.verdicts import Answer, Asked, judge

NOISE = [0.001, -0.002, 0.002, -0.001, 0.0015, -0.0005, 0.0, -0.001]  # their mean is 0


def asked(gain: float, margin: float = 0.005, scale: float = 1.0, **options: typing.Any) -> Asked:
    differences = [gain + scale * noise for noise in NOISE]
    pairs = Pairs(treatment=differences, baseline=[0.0] * 8, better="higher", margin=margin)
    return Asked(pairs, **options)


def answers(*questions: Asked, looks: tuple[Look, ...] = one_look(8)) -> list[Answer]:
    return [verdict.answer for verdict in judge(questions, looks)]


@pytest.mark.parametrize(
    ("gain", "answer"),
    [
        (0.02, "yes"),
        (0.0055, "yes"),  # above zero, and not shown to be less than the margin
        (0.0025, "yes, but less than the margin"),
        (0.0, "no (gain below the margin)"),
        (-0.004, "no (worse)"),
        (-0.02, "no (worse)"),
    ],
)
def test_better(gain: float, answer: Answer) -> None:
    assert answers(asked(gain)) == [answer]


@pytest.mark.parametrize(
    ("gain", "answer"),
    [(0.02, "yes"), (0.0, "yes"), (-0.0025, "yes"), (-0.0052, "can't tell yet"), (-0.02, "no (worse)")],
)
def test_as_good(gain: float, answer: Answer) -> None:
    """A loss below the margin is as good, even one that is shown to be there."""
    assert answers(asked(gain, kind="as good")) == [answer]


def test_a_margin_makes_no_possible_and_noise_makes_it_impossible() -> None:
    assert answers(asked(0.0, margin=0.0)) == ["can't tell yet"]
    assert answers(asked(0.0, scale=20)) == ["can't tell yet"]


def test_where_lower_is_better_a_fall_is_a_gain() -> None:
    falling = Pairs(treatment=[-0.02 + n for n in NOISE], baseline=[0.0] * 8, better="lower", margin=0.005)
    rising = Pairs(treatment=[0.02 + n for n in NOISE], baseline=[0.0] * 8, better="lower", margin=0.005)
    assert answers(Asked(falling)) == ["yes"]
    assert answers(Asked(rising)) == ["no (worse)"]


def test_a_ratio_below_the_margin_is_no_gain_that_matters() -> None:
    """Twice as fast is a gain, 1 % isn't; a margin larger than the baseline can't be gained."""

    def seconds(factor: float, margin: float = 0.05, *, relative: bool = True) -> Asked:
        treatment = [factor * (10 + noise) for noise in NOISE]
        values = {"treatment": treatment, "baseline": [10.0] * 8, "margin": margin, "relative": relative}
        return Asked(Pairs(**values, better="lower", scale="ratio"))

    assert answers(seconds(0.5)) == ["yes"]
    assert answers(seconds(0.99)) == ["yes, but less than the margin"]
    assert answers(seconds(1.0)) == ["no (gain below the margin)"]
    assert answers(seconds(0.5, margin=11.0, relative=False)) == ["yes, but less than the margin"]
    assert answers(seconds(1.5)) == ["no (worse)"]


def test_the_corrected_p_is_holms_over_the_questions() -> None:
    questions = [asked(gain, scale=3) for gain in (0.002, 0.004, 0.0)]
    raw = [t_test(question.pairs.gains()) for question in questions]
    assert [verdict.adjusted_p for verdict in judge(questions, one_look(8))] == pytest.approx(holm(raw))


def test_a_primary_question_keeps_the_whole_error_rate() -> None:
    """A p-value of 0.03 is enough for a primary question, whatever else is asked, and not for one of three others."""
    gain = next(n / 1e5 for n in range(1, 1000) if t_test(asked(n / 1e5, scale=3).pairs.gains()) < 0.03)
    question, nothing = asked(gain, margin=0.0, scale=3), asked(0.0, margin=0.0, scale=3)
    assert answers(question, nothing, nothing) == ["can't tell yet"] * 3
    primary = Asked(question.pairs, primary=True)
    assert answers(primary, nothing, nothing) == ["yes", "can't tell yet", "can't tell yet"]


def test_each_look_has_its_share_of_the_error_rate() -> None:
    """p at the first look over its weight; a later look without new evidence takes nothing back."""
    pairs = Pairs(treatment=[0.1, 0.11, 0.12, 0.1, 0.5, -0.5, 0.6, -0.6], baseline=[0.0] * 8, better="higher")
    first = t_test(pairs.first(4).gains())
    looks = (Look(4, 0.5), Look(8, 0.5))
    [verdict] = judge([Asked(pairs)], looks)
    assert verdict.adjusted_p == pytest.approx(first / 0.5)
    assert t_test(pairs.gains()) > 0.5
    assert verdict.answer == "yes"
    assert [comparison.n for comparison in verdict.history] == [4, 8]
    assert [comparison.level for comparison in verdict.history] == [0.975, 0.975]


def test_a_small_loss_that_later_seeds_do_not_show_is_no_answer() -> None:
    """Both "no" are shown, one by the first look alone; the interval stands beside the other one."""
    early, looks = [-0.0010, -0.0011, -0.0012, -0.0010], (Look(4, 0.5), Look(8, 0.5))
    for later, answer in (([0.003, -0.002, 0.004, -0.003], "no (gain below the margin)"), (early, "no (worse)")):
        pairs = Pairs(treatment=[*early, *later], baseline=[0.0] * 8, better="higher", margin=0.01)
        [verdict] = judge([Asked(pairs)], looks)
        assert verdict.adjusted_p < 0.01
        assert verdict.answer == answer
        assert verdict.comparison.includes_no_difference == (answer != "no (worse)")


def test_a_look_that_has_no_share_left_decides_nothing() -> None:
    assert answers(asked(0.02), looks=(Look(8, 0.0),)) == ["can't tell yet"]


def test_a_settled_question_spends_nothing_at_looks_it_has_no_pairs_for() -> None:
    nan = math.nan
    pairs = Pairs(treatment=[0.1, 0.2, 0.15, nan], baseline=[0.0, 0.0, 0.0, 0.0], better="higher")
    [verdict] = judge([Asked(pairs)], (Look(3, 0.5), Look(4, 0.5)))
    assert len(verdict.history) == 1
    assert verdict.comparison.n == 3


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_pairs_decide_nothing(n: int) -> None:
    [verdict] = judge([Asked(Pairs(treatment=[0.6] * n, baseline=[0.5] * n, better="higher"))], one_look(4))
    assert (verdict.answer, verdict.adjusted_p, verdict.comparison.n) == ("can't tell yet", 1.0, n)
    assert judge([], one_look(4)) == []


def test_the_sign_flip_test_stands_beside_the_t_test() -> None:
    [verdict] = judge([asked(0.02)], one_look(8))
    assert verdict.sign_flip_p == 2 / 2**8
    [good] = judge([asked(-0.002, kind="as good")], one_look(8))
    assert good.sign_flip_p == 2 / 2**8  # against a loss of 0.005


def test_the_rule_is_stated_with_its_numbers_and_every_answer_has_a_colour() -> None:
    assert "at most 5%" in verdicts.VERDICT_RULE
    assert set(typing.get_args(Answer)) == set(VERDICT_COLORS)

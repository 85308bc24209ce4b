"""The answers to a study's questions: tests against zero and against the margin, corrected for looks and questions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lit_cifar.study.looks import FIRST_ROUNDS, MOST_ROUNDS, Look
from lit_cifar.study.statistics import ALPHA, Comparison, Pairs, Threshold, compare, holm, sign_flip_test, t_test

Kind = Literal["better", "as good"]
Answer = Literal[
    "yes",
    "yes, but less than the margin",
    "no (gain below the margin)",
    "no (worse)",
    "can't tell yet",
    "can't tell: not timed",
]

NOT_TIMED: Answer = "can't tell: not timed"
"""The answer to a question about seconds whose runs weren't timed alone."""

FEWEST_PAIRS = 3
"""Fewer pairs decide nothing: with two, a t test rests on its assumption of normal differences alone."""

VERDICT_RULE = (
    "Runs are paired by seed. A t test compares the mean of the paired differences with zero, and another one compares "
    "it with the margin: the smallest difference that matters. Errors, losses and times are compared by their "
    "ratios, on a logarithmic scale. “Yes”: better than zero. “Yes, but less than the margin”: better than zero, but "
    "by less than matters. “No (gain below the margin)”: a gain that matters is ruled out. “No (worse)”: worse than "
    "zero. “Can't tell yet”: none of these is shown. A question of the kind “as good” is answered “yes” when a loss of "
    "the margin is ruled out and “no (worse)” when the loss is shown to be larger. "
    "A look at the results may use the part of the error rate that its new seeds are of the most that were allowed, "
    "and Holm's method corrects for the number of questions. So the chance of finding any difference where there is "
    f"none is at most {ALPHA:.0%} for all questions of a study that aren't primary together, and so is the chance of "
    "ruling out any gain that is there. A primary question has these error rates to itself. The intervals of all looks "
    f"together hold the true difference with a confidence of {1 - ALPHA:.0%}. Seconds are compared by rounds in which "
    f"each run trained alone, instead of seeds: in {FIRST_ROUNDS}, or in {MOST_ROUNDS} if those leave a question open "
    "and the number of seeds is `auto`. These are two looks."
)
"""The rule in words, for the report."""


@dataclass(frozen=True)
class Asked:
    """A question as numbers.

    Args:
        pairs: Its pairs.
        kind: What it asks for.
        primary: Whether it has the whole error rate.
        looks: The looks at its pairs, if they aren't the study's.
    """

    pairs: Pairs
    kind: Kind = "better"
    primary: bool = False
    looks: Sequence[Look] | None = None

    @property
    def threshold(self) -> Threshold:
        """The first value that the gain is compared with: zero, or a loss of the margin."""
        return 0 if self.kind == "better" else -1

    @property
    def has_margin_test(self) -> bool:
        """Whether the gain is also compared with the margin."""
        return self.kind == "better" and self.pairs.margin > 0


@dataclass(frozen=True)
class Verdict:
    """The answer to one question (see `VERDICT_RULE`), and what it rests on.

    Args:
        answer: The answer.
        adjusted_p: The p-value against zero (of the kind `as good`: against a loss of the margin), corrected for looks
            and questions.
        margin_p: The p-value of "the gain is at least the margin", corrected likewise; 1 where it isn't tested.
        asked: The question as numbers.
        comparison: The pairs as they are now.
        history: The pairs as they were at each look, the last one included.
    """

    answer: Answer
    adjusted_p: float
    margin_p: float
    asked: Asked
    comparison: Comparison
    history: Sequence[Comparison]

    @property
    def sign_flip_p(self) -> float:
        """The uncorrected p-value of a sign-flip test of the same pairs against the same threshold as `adjusted_p`."""
        pairs = self.asked.pairs
        return sign_flip_test(pairs.gains() - pairs.margin_as_gain(self.asked.threshold))

    @property
    def settled(self) -> bool:
        """Whether the question needs no more seeds."""
        return not self.answer.startswith("can't tell")


@dataclass(frozen=True)
class Firmness:
    """Whether an answer stands at other learning rates.

    Args:
        seeds: The number of seeds that were repeated at other rates.
        combinations: The number of combinations of both runs' rates.
        fails: Where the mean gain is on the other side: "half ELU's and twice SELU's learning rate".
    """

    seeds: int
    combinations: int
    fails: tuple[str, ...]

    @property
    def firm(self) -> bool:
        """Whether the answer stands at all rates."""
        return not self.fails


@dataclass(frozen=True)
class Evidence:
    """P-values of "the mean gain isn't above the threshold" and "isn't below it", corrected for the looks."""

    above: float
    below: float

    @property
    def smaller(self) -> float:
        """The p-value of the direction that the pairs speak for."""
        return min(self.above, self.below)


def judge(questions: Sequence[Asked], looks: Sequence[Look]) -> list[Verdict]:
    """Answer the questions of a study, in order.

    Args:
        questions: All questions of the study; for Holm's correction the primary ones are a family of their own.
        looks: All looks that the study has taken.
    """
    verdicts: dict[int, Verdict] = {}
    for primary in (True, False):
        family = {n: question for n, question in enumerate(questions) if question.primary == primary}
        verdicts |= dict(zip(family, _judge_family(list(family.values()), looks), strict=True))
    return [verdicts[n] for n in range(len(questions))]


def _judge_family(questions: Sequence[Asked], looks: Sequence[Look]) -> Iterable[Verdict]:
    seen = [_informative_looks(q.pairs, looks if q.looks is None else q.looks) for q in questions]
    main = [_evidence(q.pairs, own, q.threshold) for q, own in zip(questions, seen, strict=True)]
    beyond = [_evidence(q.pairs, own, 1) for q, own in zip(questions, seen, strict=True)]
    main_p = holm([evidence.smaller for evidence in main])
    margin_p = holm([e.below if q.has_margin_test else 1.0 for q, e in zip(questions, beyond, strict=True)])
    for question, own, evidence, p, q in zip(questions, seen, main, main_p, margin_p, strict=True):
        yield _verdict(question, own, evidence, p, q)


def _verdict(question: Asked, looks: Sequence[Look], evidence: Evidence, p: float, margin_p: float) -> Verdict:
    pairs = question.pairs
    history = tuple(compare(pairs.first(look.seeds), level=1 - ALPHA * look.weight) for look in looks)
    now = history[-1] if history else compare(pairs)
    return Verdict(
        answer=_answer(evidence, p, margin_p, now),
        adjusted_p=p,
        margin_p=margin_p,
        asked=question,
        comparison=now,
        history=history,
    )


def _answer(evidence: Evidence, p: float, margin_p: float, now: Comparison) -> Answer:
    below_margin = margin_p <= ALPHA
    if p <= ALPHA and evidence.above < evidence.below:
        return "yes, but less than the margin" if below_margin else "yes"
    if p <= ALPHA and not (below_margin and now.includes_no_difference):  # else an early look alone has shown the loss
        return "no (worse)"
    return "no (gain below the margin)" if below_margin else "can't tell yet"


def _informative_looks(pairs: Pairs, looks: Sequence[Look]) -> list[Look]:
    """The looks at which a question has pairs that it didn't have before: the others test nothing anew."""
    sizes = [len(pairs.first(look.seeds).differences()) for look in looks]
    return [look for look, size, before in zip(looks, sizes, [0, *sizes], strict=False) if size > before]


def _evidence(pairs: Pairs, looks: Sequence[Look], threshold: Threshold) -> Evidence:
    """The smallest p-value of each direction over the looks, each divided by its look's share of the error rate."""
    above = below = 1.0
    for look in looks:
        seen = pairs.first(look.seeds)
        gains, limit = seen.gains(), seen.margin_as_gain(threshold)
        p = min(1.0, t_test(gains, limit) / look.weight) if look.weight and len(gains) >= FEWEST_PAIRS else 1.0
        if gains.mean() > limit:
            above = min(above, p)
        else:
            below = min(below, p)
    return Evidence(above, below)

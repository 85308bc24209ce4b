"""The answers of a report: a card for each question."""

from __future__ import annotations

from collections.abc import Iterator

from lit_cifar.study.answers import Answer
from lit_cifar.study.report.figures import differences_figure, shrinking_figures
from lit_cifar.study.report.page import Card, Cell, Section
from lit_cifar.study.report.wording import NO_BREAK, confidence, count, effect_cell, margin_text, mean_cell, p_value
from lit_cifar.study.result import StudyResult
from lit_cifar.study.verdicts import VERDICT_RULE, Firmness


def answers_section(result: StudyResult) -> Section:
    """The questions with their verdicts, the rule, every pair of runs, and the intervals at each look."""
    return Section(
        "Answers",
        cards=[_card(answer) for answer in result.answers],
        folded=("The rule behind the answers", VERDICT_RULE),
        figures=[differences_figure(result), *shrinking_figures(result)],
    )


def _card(answer: Answer) -> Card:
    question, verdict, measure = answer.question, answer.verdict, answer.measure
    comparison, baseline = verdict.comparison, answer.baseline_measure
    facts = [
        (f"{question.treatment}: {measure.label}", mean_cell(measure, answer.values.treatment)),
        (f"{question.baseline}: {baseline.label}", mean_cell(baseline, answer.values.baseline)),
        (comparison.scale, effect_cell(measure, comparison)),
        ("corrected p", Cell(p_value(verdict.adjusted_p), f"({count(comparison.n, answer.pair)})")),
    ]
    return Card(question.ask, verdict.answer, _tone(verdict.answer), facts, " ".join(_notes(answer)))


def _tone(answer: str) -> str:
    return "yes" if answer.startswith("yes") else "unknown" if answer.startswith("can't") else "no"


def _notes(answer: Answer) -> Iterator[str]:
    """What else there is to know about an answer."""
    question, verdict, measure = answer.question, answer.verdict, answer.measure
    comparison = verdict.comparison
    yield f"{measure.better.capitalize()} is better; the margin is {margin_text(measure, answer.margin)}."
    if question.primary:
        yield "A primary question."
    if question.kind == "as good":
        yield "“Yes” means: not worse by the margin or more."
    elif verdict.margin_p < 1:
        yield f"A gain of the margin: corrected p {p_value(verdict.margin_p)}."
    if comparison.n > 1:
        level = confidence(comparison).replace(" ", NO_BREAK)
        yield f"The interval's level is {level}."
        yield f"Sign-flip test as a cross-check, not corrected: p {p_value(verdict.sign_flip_p)}."
    if measure.scale == "ratio":
        yield "Geometric means, and the ratio of the runs."
    if comparison.all_equal:
        yield "All pairs have the same difference."
    yield from _notes_on_ties(answer)
    yield from _notes_on_failures(answer)
    if answer.firmness is not None:
        yield _firmness(answer.firmness)


def _firmness(firmness: Firmness) -> str:
    seeds = count(firmness.seeds, "seed")
    if firmness.firm:
        tried = f"all {firmness.combinations} combinations of half, once and twice the learning rates"
        return f"Firm: the mean stays on the answer's side at {tried} ({seeds})."
    failing = f"{len(firmness.fails)} of {firmness.combinations} combinations of rates"
    return f"Not firm: the mean is on the other side at {failing}: {'; '.join(firmness.fails)} ({seeds})."


def _notes_on_ties(answer: Answer) -> Iterator[str]:
    if answer.measure.timed == "rounds":
        yield "Judged by rounds in which each run trained alone."
    elif answer.measure.timed == "epochs":
        yield "The epochs of each seed, times the seconds per epoch of the run when it trained alone."
    if answer.question.measure == "epochs_to_reach":
        ties = int((answer.values.pairs(answer.question).differences() == 0).sum())
        yield f"The target is the higher of the two runs' lowest losses, for each seed. Ties: {ties}."


def _notes_on_failures(answer: Answer) -> Iterator[str]:
    if answer.values.left_out:
        yield f"{count(len(answer.values.left_out), 'pair')} left out because a run failed."
    if answer.without_failed is None:
        return
    failed, without = count(len(answer.values.failed), "pair"), answer.without_failed
    if answer.verdict.comparison.n == without.comparison.n:
        yield f"{failed} with a diverged run left out."
        return
    counts_as = "all its epochs" if "epochs" in (answer.measure.timed, answer.question.measure[:6]) else "guessing"
    effect = effect_cell(answer.measure, without.comparison)
    yield f"{failed} with a diverged run, which counts as {counts_as}. Without: {without.answer}, {effect}."

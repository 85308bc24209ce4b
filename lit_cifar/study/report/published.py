"""The text of a documentation page about a recorded study. It can be made again from the record."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from lit_cifar.study.answers import Answer
from lit_cifar.study.report.cards import answers_section
from lit_cifar.study.report.costs_table import costs_table
from lit_cifar.study.report.figures import curves_figures, layers_figures, mc_figures, zeros_figures
from lit_cifar.study.report.page import ReportFigure
from lit_cifar.study.report.rate_figures import rate_figures
from lit_cifar.study.report.text_tables import answers_table, runs_table
from lit_cifar.study.report.wording import confidence, count, effect_cell
from lit_cifar.study.result import StudyResult

INTERVAL = re.compile(r"\[(\S+), (\S+)\]")


def published_text(result: StudyResult) -> str:
    """Sentences and tables in Markdown: where the numbers come from, the answers, the runs, and what they cost."""
    answers, costs = answers_table(result.answers), costs_table(result)
    answers["answer"] = [f"**{answer}**" for answer in answers["answer"]]
    of_costs = pd.DataFrame([[str(cell) for cell in row] for row in costs.rows], columns=list(costs.header))
    tables = (answers, runs_table(result), of_costs)
    return "\n\n".join([_about(result), *(_markdown(table) for table in tables if len(table))])


def published_answers(result: StudyResult, numbers: Iterable[int]) -> str:
    """Some of a study's answers as a list in Markdown.

    Args:
        result: The study.
        numbers: Which of its questions, counted from 1.
    """
    answers = [result.answers[number - 1] for number in numbers]
    return "\n".join(f"- {_sentence(answer)}" for answer in answers)


def _sentence(answer: Answer) -> str:
    comparison = answer.verdict.comparison
    pairs = count(comparison.n, answer.pair)
    rates = "" if answer.firmness is None else ", firm" if answer.firmness.firm else ", not firm"
    is_plain = comparison.scale == "difference" and (answer.measure.unit or "accuracy" in answer.measure.label)
    of = "" if is_plain else f"{answer.measure.label}; "
    effect = effect_cell(answer.measure, comparison)
    return f"{answer.question.ask} **{answer.verdict.answer.capitalize()}**: {effect} ({of}{pairs}{rates})."


def published_figures(result: StudyResult) -> list[ReportFigure]:
    """The figures that can be made from a record."""
    answers = answers_section(result).figures if result.answers else ()
    return [
        *answers,
        *mc_figures(result),
        *rate_figures(result),
        *zeros_figures(result),
        *curves_figures(result),
        *layers_figures(result),
    ]


def _about(result: StudyResult) -> str:
    """Where the numbers come from; of a study that isn't finished, that they are interim."""
    seeds, facts = result.looks[-1].seeds, result.environment
    interim = f"**An interim look at {count(seeds, 'seed')} of at most {result.study.most_seeds}.** "
    machine = ", ".join(f"{what} {which}" if what != "processor" else which for what, which in facts.items())
    return (
        f"{interim if result.is_interim else ''}{count(len(result.study.runs), 'run')}, at most {count(seeds, 'seed')} "
        f"each, on {result.data_source}. {_levels(result)}Made with {machine}, by:\n\n```\n{result.command}\n```"
    )


def _levels(result: StudyResult) -> str:
    """A sentence on the confidence of the intervals; empty if nothing is asked."""
    levels = sorted({confidence(answer.verdict.comparison) for answer in result.answers})
    if not levels:
        return ""
    confidences = " to ".join(dict.fromkeys((levels[0], levels[-1])))
    return (
        f"Intervals of differences have a confidence of {confidences} (all looks together: 95 %), those of means 95 %. "
    )


def _markdown(table: pd.DataFrame) -> str:
    rows = [[_cell(text) for text in row] for row in table.itertuples(index=False, name=None)]
    lines = [list(table.columns), ["---"] * table.shape[1], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """A cell of a table whose interval isn't broken into two lines."""
    return INTERVAL.sub(r"[\1,&nbsp;\2]", text.replace("|", r"\|"))

"""The text of a documentation page about a recorded study. It can be made again from the record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from lit_cifar.study.answers import Answer
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.report.cards import answers_section
from lit_cifar.study.report.costs_table import costs_table
from lit_cifar.study.report.figures import curves_figures, layers_figures, mc_figures, zeros_figures
from lit_cifar.study.report.page import ReportFigure, Table
from lit_cifar.study.report.rate_figures import rate_figures
from lit_cifar.study.report.wording import confidence, count, effect_cell, margin_text, mean_cell
from lit_cifar.study.result import StudyResult

SCORES = ("test_acc", "selected_by_acc_test_acc", "test_nll", "test_ece", "mc_test_acc", "mc_test_nll", "mc_test_ece")
"""The scores of a published table, where a study has them."""

INTERVAL = re.compile(r"\[(\S+), (\S+)\]")


def published_text(result: StudyResult) -> str:
    """Sentences and tables in Markdown: where the numbers come from, the answers, the runs, and what they cost."""
    tables = {
        _answer_header(result.answers): _answer_rows(result.answers),
        ("run", "learning rate", "seeds", *_labels(result)): _run_rows(result),
    }
    costs: Table = costs_table(result)
    tables[tuple(costs.header)] = [[str(cell) for cell in row] for row in costs.rows]
    parts = [_about(result), *(_markdown(header, rows) for header, rows in tables.items() if rows)]
    return "\n\n".join(parts)


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
    levels = sorted({confidence(answer.verdict.comparison) for answer in result.answers}) or ["95 %"]
    confidences = " to ".join(dict.fromkeys((levels[0], levels[-1])))
    return (
        f"{interim if result.is_interim else ''}{count(len(result.study.runs), 'run')}, at most {count(seeds, 'seed')} "
        f"each, on {result.data_source}. Intervals of differences have a confidence of {confidences} (all looks "
        f"together: 95 %), those of means 95 %. Made with {machine}, by:\n\n```\n{result.command}\n```"
    )


def _answer_header(answers: Sequence[Answer]) -> tuple[str, ...]:
    rates = ("at other rates",) if _has_firmness(answers) else ()
    return ("question", "answer", "difference", "margin", "pairs", *rates, "measure")


def _has_firmness(answers: Sequence[Answer]) -> bool:
    """Whether an answer was tried at other learning rates."""
    return any(answer.firmness is not None for answer in answers)


def _answer_rows(answers: Sequence[Answer]) -> list[list[str]]:
    rows = []
    for answer in answers:
        rates = "–" if answer.firmness is None else "firm" if answer.firmness.firm else "not firm"
        rows.append(
            [
                answer.question.ask,
                f"**{answer.verdict.answer}**",
                str(effect_cell(answer.measure, answer.verdict.comparison)),
                margin_text(answer.measure, answer.margin),
                count(answer.verdict.comparison.n, answer.pair),
                *([rates] if _has_firmness(answers) else []),
                answer.measure.label,
            ]
        )
    return rows


def _labels(result: StudyResult) -> Iterator[str]:
    yield from (MEASURES[column].label for column in SCORES if column in result.summary)


def _run_rows(result: StudyResult) -> list[list[str]]:
    rows = []
    for row in result.summary.to_dict("records"):
        of_run: pd.DataFrame = result.results[result.results["run"] == row["run"]]
        failed = f" ({row['failed']} failed)" if row["failed"] else ""
        scores = [
            str(mean_cell(MEASURES[column], of_run[column].tolist())) for column in SCORES if column in result.summary
        ]
        rows.append([str(row["run"]), f"{row['lr']:.2g}", f"{row['seeds']}{failed}", *scores])
    return rows


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """A cell of a table whose interval isn't broken into two lines."""
    return INTERVAL.sub(r"[\1,&nbsp;\2]", text.replace("|", r"\|"))

"""The output of a finished study: one line per answer, and a table of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lit_cifar.study.costs import costs, epochs_text, reference, seconds_text
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.report.wording import FEWEST_FOR_INTERVAL, count, effect_cell
from lit_cifar.study.result import StudyResult

COLUMNS = {
    "test_acc": "test %",
    "mc_test_acc": "MC test %",
    "best_epoch": "best\nepoch",
}
"""The measures that fit a terminal, with short names."""


def print_result(result: StudyResult, folder: Path, console: Console) -> None:
    """Print the table of the runs, the answers, and where everything is."""
    print_answers(result, console)
    where = f"Results: {folder / 'results.csv'}\nReport:  {folder / 'report.html'}"
    console.print(where, highlight=False, markup=False)


def print_answers(result: StudyResult, console: Console) -> None:
    """Print the table of the runs and the answers; those of a study that isn't finished are called interim."""
    console.print(table(result))
    console.print(cost_table(result))
    if result.is_interim:
        console.print(f"Interim: {count(result.looks[-1].seeds, 'seed')} of at most {result.study.most_seeds}.")
    for line in answer_lines(result):
        console.print(line, highlight=False, markup=False)


def answer_lines(result: StudyResult) -> Iterator[str]:
    """The answers, a line each: the verdict, the question, and the difference with its interval."""
    for number, answer in enumerate(result.answers, 1):
        verdict, comparison = answer.verdict.answer.capitalize(), answer.verdict.comparison
        effect = effect_cell(answer.measure, comparison)
        firmness = "" if answer.firmness is None else ", firm" if answer.firmness.firm else ", not firm"
        yield f"Q{number} {verdict}. {answer.question.ask} {effect}, {count(comparison.n, answer.pair)}{firmness}"


def table(result: StudyResult) -> Table:
    """The summary for a terminal: means over seeds, and half-widths of 95 % intervals where there are enough seeds."""
    columns = [column for column in COLUMNS if column in result.summary]
    means = "mean ± 95 % interval" if result.summary["seeds"].max() >= FEWEST_FOR_INTERVAL else "means"
    title = f"{escape(result.study.title)}\n{means}, {escape(result.data_source)}"
    shown_table = Table("run", "seeds", "lr", title=title, box=SIMPLE, padding=(0, 1))
    shown_table.columns[0].overflow = "fold"
    for column in columns:
        shown_table.add_column(COLUMNS[column], no_wrap=True)
    for row in result.summary.to_dict("records"):
        cells = [_with_interval(row, column) for column in columns]
        failed = f" ({row['failed']} failed)" if row["failed"] else ""
        shown_table.add_row(Text(f"{row['run']}{failed}"), str(row["seeds"]), f"{row['lr']:.2g}", *cells)
    return shown_table


def cost_table(result: StudyResult) -> Table:
    """The cost of each run, and the epochs and seconds to the baseline's best loss."""
    baseline, _ = reference(result)
    title = f"Cost; epochs and seconds to {escape(baseline)}'s lowest validation loss, medians"
    shown_table = Table(
        "run", "parameters", "s/epoch\nalone", "epochs", "seconds", title=title, box=SIMPLE, padding=(0, 1)
    )
    shown_table.columns[0].overflow = "fold"
    for cost in costs(result):
        parameters = "–" if cost.parameters is None else f"{cost.parameters:,}"
        seconds = MEASURES["seconds_per_epoch"].text(cost.seconds.mean)
        shown_table.add_row(Text(cost.run), parameters, seconds, epochs_text(cost), seconds_text(cost))
    return shown_table


def _with_interval(row: Mapping[Any, Any], column: str) -> str:
    measure = MEASURES[column]
    mean = measure.text(row[column])
    half_width = measure.text((row[f"{column}_high"] - row[f"{column}_low"]) / 2)
    if not measure.percent or half_width == "–":
        return mean
    return (mean if row["seeds"] < FEWEST_FOR_INTERVAL else f"{mean} ±{half_width}").replace(" %", "")

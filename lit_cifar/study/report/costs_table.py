"""The table of what each run gains and costs."""

from __future__ import annotations

import math

from lit_cifar.study.costs import Cost, costs, epochs_text, reference, seconds_text
from lit_cifar.study.measures import MEASURES, Measure
from lit_cifar.study.report.page import Cell, Table
from lit_cifar.study.result import StudyResult


def costs_table(result: StudyResult) -> Table:
    """A row for each run: its gain beside its parameters, seconds, and the way to the baseline's best loss."""
    baseline, column = reference(result)
    measure = MEASURES[column]
    header = [
        "run",
        measure.label,
        "parameters",
        "seconds per epoch, timed alone",
        f"epochs to {baseline}'s lowest validation loss",
        "seconds to it",
    ]
    caption = "Gain and cost; epochs are medians over seeds, seconds to a loss are epochs × seconds per epoch"
    return Table(caption, header, [_row(cost, measure) for cost in costs(result)])


def _row(cost: Cost, measure: Measure) -> list[Cell]:
    seconds, timed = cost.seconds, MEASURES["seconds_per_epoch"]
    interval = f"[{timed.text(seconds.low)}, {timed.text(seconds.high)}]" if seconds.n > 1 else ""
    never = f"({cost.never} of {cost.seeds} seeds never)" if cost.never else ""
    return [
        Cell(cost.run),
        Cell(measure.text(cost.gain.mean), value=_number(cost.gain.mean)),
        Cell("–" if cost.parameters is None else f"{cost.parameters:,}", value=cost.parameters),
        Cell(timed.text(seconds.mean), interval, _number(seconds.mean)),
        Cell(epochs_text(cost), never, _number(cost.epochs)),
        Cell(seconds_text(cost), value=_number(cost.seconds_to_reach)),
    ]


def _number(value: float) -> float | None:
    """A number to sort by; None where there is none."""
    return value if math.isfinite(value) else None

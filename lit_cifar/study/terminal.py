"""A study's results as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lit_cifar.study.measures import MEASURES
from lit_cifar.study.schema import Study

COLUMNS = {
    "test_acc": "test %",
    "mc_test_acc": "MC test %",
    "val_acc": "val %",
    "best_epoch": "best epoch",
    "seconds_per_epoch": "s/epoch",
}
"""The measures that fit a terminal, with short names."""


def table(summary: pd.DataFrame, study: Study, data_source: str) -> Table:
    """The means over seeds; accuracies with the half-widths of their 95 % intervals."""
    columns = [column for column in COLUMNS if column in summary]
    title = f"{escape(study.title)}\n{study.seeds} seeds, mean ± 95 % interval, {escape(data_source)}"
    shown_table = Table("run", "lr", *(COLUMNS[column] for column in columns), title=title)
    for row in summary.to_dict("records"):
        cells = [_with_interval(row, column) for column in columns]
        failed = f" ({row['failed']} failed)" if row["failed"] else ""
        shown_table.add_row(Text(f"{row['run']}{failed}"), f"{row['lr']:.2g}", *cells)
    return shown_table


def _with_interval(row: Mapping[Any, Any], column: str) -> str:
    measure = MEASURES[column]
    mean, half_width = measure.text(row[column]), measure.text((row[f"{column}_high"] - row[f"{column}_low"]) / 2)
    return f"{mean} ±{half_width}".replace(" %", "") if measure.percent and half_width != "–" else mean

"""The loggers every run writes to: TensorBoard events and `metrics.csv`, side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import write_text


def run_loggers(
    folder: Path, name: str, version: int | str | None = None, *, continued_from_step: int = 0
) -> list[Logger]:
    """Loggers that share `folder/name/version_N`, the next free N unless a version is given.

    A continued run keeps what was logged before the step of its checkpoint.
    """
    events = EventsFile(
        folder, name=name, version=version, default_hp_metric=False, purge_step=continued_from_step or None
    )
    return [events, MetricsFile(events, continued_from_step)]


class EventsFile(TensorBoardLogger):
    """Lightning's TensorBoardLogger, with a version number of its own for each run, and OSErrors for full disks."""

    @property
    def version(self) -> int | str:
        """The run's number. A new run makes the next free folder, as other runs may start meanwhile."""
        if self._version is None and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            made = new_version(Path(self.root_dir), self._get_next_version())
            self._version = int(made.name.removeprefix("version_"))
        return super().version

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers.

        Raises:
            OSError: if they can't be written; Lightning's method would call it a value that can't be logged.
        """
        try:
            super().log_metrics(metrics, step)
        except ValueError as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise


def new_version(folder: Path, first: int = 0) -> Path:
    """Make and return the folder `version_N` with the first free N: another run may start right now."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"The folder {folder} can't be made: {error.filename} is a file or a broken link.") from error
    for version in count(first):
        with suppress(FileExistsError):
            (folder / f"version_{version}").mkdir()
            break
    return folder / f"version_{version}"


class MetricsFile(CSVLogger):
    """Lightning's CSVLogger, whose `metrics.csv` is written whole or not at all and can be continued.

    Args:
        events: The logger whose folder the file is in.
        continued_from_step: Rows of earlier steps are kept; 0 starts a new file.
    """

    def __init__(self, events: TensorBoardLogger, continued_from_step: int = 0) -> None:
        super().__init__(events.save_dir, events.name)
        self.events = events
        self.continued_from_step = continued_from_step

    @property
    def version(self) -> int | str:
        return self.events.version

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            self._experiment = _WholeFileWriter(self.log_dir, self.continued_from_step)
        return self._experiment  # type: ignore[return-value]


class _WholeFileWriter(ExperimentWriter):
    """Formats each row once, so that saving takes as long after thousands of epochs as after a few."""

    def __init__(self, log_dir: str, continued_from_step: int) -> None:
        super().__init__(log_dir)
        self.metrics = _rows_before(continued_from_step, Path(self.metrics_file_path))
        self._text = io.StringIO()
        self._in_text = 0

    def save(self) -> None:
        columns = sorted(set(self.metrics_keys).union(*self.metrics[self._in_text :]))
        if columns != self.metrics_keys:
            self.metrics_keys, self._text, self._in_text = columns, io.StringIO(), 0
            csv.DictWriter(self._text, columns, lineterminator="\n").writeheader()
        csv.DictWriter(self._text, columns, lineterminator="\n").writerows(self.metrics[self._in_text :])
        self._in_text = len(self.metrics)
        if self.metrics:
            write_text(Path(self.metrics_file_path), self._text.getvalue())

    def _check_log_dir_exists(self) -> None:
        """Lightning would delete the file."""


def _rows_before(step: int, metrics_csv: Path) -> list[dict[str, Any]]:
    if not step or not metrics_csv.is_file():
        return []
    with metrics_csv.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) < step]


def read_history(metrics_csv: Path) -> pd.DataFrame:
    """One row per epoch with all values logged to a `metrics.csv`."""
    by_epoch = pd.read_csv(metrics_csv).groupby("epoch").first()
    return by_epoch.copy().reset_index()  # copied first: pandas warns of a table in more than a hundred pieces

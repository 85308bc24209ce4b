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
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import write_text

VERSION = "version_"
"""How the names of the runs' folders begin."""


def run_loggers(
    folder: Path, name: str, version: int | str | None = None, *, continued_from_step: int = 0
) -> list[Logger]:
    """Loggers that share `folder/name/version_N`, the next free N unless a version is given.

    A continued run keeps what was logged before the step of its checkpoint.
    """
    events = EventsFile(folder, name=name, version=version, continued_from_step=continued_from_step)
    return [events, MetricsFile(events, continued_from_step)]


class EventsFile(TensorBoardLogger):
    """Lightning's TensorBoardLogger, with a folder of its own for each run, and OSErrors for full disks.

    Args:
        save_dir: Where the folders of all runs are.
        name: Name of the folder below it.
        version: The run's number or its folder's name. Default: the next free number, when the run starts.
        continued_from_step: Events of later steps are removed; 0 is a new run.
    """

    def __init__(
        self, save_dir: Path, *, name: str, version: int | str | None = None, continued_from_step: int = 0
    ) -> None:
        super().__init__(
            save_dir, name, version=version, default_hp_metric=False, purge_step=continued_from_step or None
        )
        self._number = version

    @property
    def has_folder(self) -> bool:
        """Whether the run has started, or continues an earlier one."""
        return self._number is not None

    @property
    def version(self) -> int | str:
        """The run's number. A new run makes its folder at once, because other runs may start at the same time."""
        if self._number is None and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            self._number = int(new_version(Path(self.root_dir)).name.removeprefix(VERSION))
        return super().version if self._number is None else self._number

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers, except the epoch and the layers' statistics.

        These are more than a hundred. They would hide losses and accuracies among the charts, and each would be a
        column of the HParams tab. TensorBoard has a figure of each statistic, and `metrics.csv` has the numbers.

        Raises:
            OSError: If they can't be written. Lightning's method raises a ValueError about the values instead.
        """
        shown = {name: value for name, value in metrics.items() if name != "epoch" and not name.startswith("layer_")}
        try:
            super().log_metrics(shown, step)
        except ValueError as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise


def new_version(folder: Path) -> Path:
    """Make and return the folder `version_N` after the last one. Another run may do the same at the same time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"The folder {folder} can't be made: {error.filename} is a file or a broken link.") from error
    names = [made.name.removeprefix(VERSION) for made in folder.glob(f"{VERSION}*") if made.is_dir()]
    for version in count(1 + max((int(name) for name in names if name.isdecimal()), default=-1)):
        with suppress(FileExistsError):
            (folder / f"{VERSION}{version}").mkdir()
            break
    return folder / f"{VERSION}{version}"


class MetricsFile(CSVLogger):
    """Lightning's CSVLogger, whose `metrics.csv` is written whole or not at all and can be continued.

    Args:
        events: The logger whose folder the file is in.
        continued_from_step: Rows of earlier steps are kept; 0 starts a new file.
    """

    def __init__(self, events: EventsFile, continued_from_step: int = 0) -> None:
        super().__init__(events.save_dir, events.name)
        self.events = events
        self.continued_from_step = continued_from_step
        self._file: _MetricsWriter | None = None

    @property
    def version(self) -> int | str:
        return self.events.version

    @property
    @rank_zero_experiment
    def experiment(self) -> _MetricsWriter:
        if self._file is None:
            self._file = _MetricsWriter(Path(self.log_dir, "metrics.csv"), self.continued_from_step)
        return self._file

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Hyperparameters are in the run's `config.yaml`."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Save what has been logged, if anything has."""
        if self._file is not None:
            self.save()


class _MetricsWriter:
    """Writes rows of metrics to a CSV file.

    Each row is formatted once, so saving takes as long after thousands of epochs as after a few.
    """

    def __init__(self, path: Path, continued_from_step: int) -> None:
        self.path = path
        self.rows = _rows_before(continued_from_step, path)
        self.columns: list[str] = []
        self._text = io.StringIO()
        self._rows_in_text = 0

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row."""
        values = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        self.rows.append({**values, "step": len(self.rows) if step is None else step})

    def save(self) -> None:
        """Write the file, whole or not at all."""
        columns = sorted(set(self.columns).union(*self.rows[self._rows_in_text :]))
        if columns != self.columns:
            self.columns, self._text, self._rows_in_text = columns, io.StringIO(), 0
            csv.DictWriter(self._text, columns, lineterminator="\n").writeheader()
        csv.DictWriter(self._text, columns, lineterminator="\n").writerows(self.rows[self._rows_in_text :])
        self._rows_in_text = len(self.rows)
        if self.rows:
            write_text(self.path, self._text.getvalue())


def _rows_before(step: int, metrics_csv: Path) -> list[dict[str, Any]]:
    if not step or not metrics_csv.is_file():
        return []
    with metrics_csv.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) < step]


def read_history(metrics_csv: Path) -> pd.DataFrame:
    """One row per epoch with all values logged to a `metrics.csv`."""
    by_epoch = pd.read_csv(metrics_csv).groupby("epoch").first()
    return by_epoch.copy().reset_index()  # copied first: pandas warns of a table in more than a hundred pieces

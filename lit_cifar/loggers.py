"""The loggers every run writes to: TensorBoard events and `metrics.csv`, side by side."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lit_cifar.files import write_text


def run_loggers(
    folder: Path, name: str, version: int | str | None = None, *, continued_from_step: int = 0
) -> list[Logger]:
    """Loggers that share `folder/name/version_N`, the next free N unless a version is given.

    A continued run keeps what was logged before the step of its checkpoint.
    """
    tensorboard = TensorBoardLogger(
        folder, name=name, version=version, default_hp_metric=False, purge_step=continued_from_step or None
    )
    return [tensorboard, MetricsFile(folder, name, tensorboard.version, continued_from_step)]


class MetricsFile(CSVLogger):
    """Lightning's CSVLogger, but that `metrics.csv` is written whole or not at all and can be continued.

    Args:
        continued_from_step: Rows of earlier steps stay in the file; 0 starts it anew.
    """

    def __init__(self, folder: Path, name: str, version: int | str | None, continued_from_step: int = 0) -> None:
        super().__init__(folder, name, version)
        self.continued_from_step = continued_from_step

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self._experiment is None:
            self._experiment = _WholeFileWriter(self.log_dir, self.continued_from_step)
        return self._experiment  # type: ignore[return-value]


class _WholeFileWriter(ExperimentWriter):
    def __init__(self, log_dir: str, continued_from_step: int) -> None:
        super().__init__(log_dir)
        self.metrics = _rows_before(continued_from_step, Path(self.metrics_file_path))

    def save(self) -> None:
        if self.metrics:
            text = io.StringIO()
            writer = csv.DictWriter(text, sorted(set().union(*self.metrics)), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.metrics)
            write_text(Path(self.metrics_file_path), text.getvalue())

    def _check_log_dir_exists(self) -> None:
        """Lightning would delete the file here."""


def _rows_before(step: int, metrics_csv: Path) -> list[dict[str, Any]]:
    if not step or not metrics_csv.is_file():
        return []
    with metrics_csv.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) < step]


def read_history(metrics_csv: Path) -> pd.DataFrame:
    """One row an epoch with every value that was logged, from a `metrics.csv`."""
    by_epoch = pd.read_csv(metrics_csv).groupby("epoch").first()
    return by_epoch.copy().reset_index()  # in one piece first: pandas warns of more than a hundred pieces

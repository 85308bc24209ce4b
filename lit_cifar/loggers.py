"""The loggers every run writes to: TensorBoard events and `metrics.csv`, side by side."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger


def run_loggers(folder: Path, name: str, version: int | str | None = None) -> list[Logger]:
    """Loggers that share `folder/name/version_N`, the next free N unless a version is given."""
    tensorboard = TensorBoardLogger(folder, name=name, version=version, default_hp_metric=False)
    return [tensorboard, CSVLogger(folder, name=name, version=tensorboard.version)]


def read_history(metrics_csv: Path) -> pd.DataFrame:
    """One row an epoch with every value that was logged, from a `metrics.csv`."""
    return pd.read_csv(metrics_csv).groupby("epoch", as_index=False).first()

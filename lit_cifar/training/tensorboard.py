"""TensorBoard beyond scalars: its writers, the layout of charts, and rows of the HParams tab."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import FileWriter, SummaryWriter
from torch.utils.tensorboard.summary import hparams, scalar

LAYOUT = {
    "Training": {
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "accuracy": ["Multiline", ["train/accuracy", "val/accuracy"]],
        "learning rate": ["Multiline", ["train/learning_rate"]],
        "images a second": ["Multiline", ["train/images_per_second"]],
    },
    "Layers": {
        "mean of activations": ["Multiline", ["layer_mean/.*"]],
        "standard deviation of activations": ["Multiline", ["layer_std/.*"]],
        "share of dead units": ["Multiline", ["layer_dead/.*"]],
        "gradient (root mean square)": ["Multiline", ["layer_gradient_rms/.*"]],
        "size of an update over size of the weights": ["Multiline", ["layer_update_ratio/.*"]],
    },
}
"""The Custom Scalars tab: charts of all selected runs, and of all layers, on the same axes."""

ROW_FOLDER = "hparams"
"""A row of the HParams tab has every scalar of its folder as a column, so rows have a folder of their own."""

FOLDERS_IN_A_RUN = 5
"""How deep in a run's folder a checkpoint may be."""


def writers(trainer: Trainer) -> list[SummaryWriter]:
    """TensorBoard's writers; none with other loggers, without a logger, and outside the main process."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return [logger.experiment for logger in loggers] if trainer.is_global_zero else []


def write_row(run_folder: Path, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
    """Give a run its row in the HParams tab: its hyperparameters and its results.

    `add_hparams` would also write the list of columns. TensorBoard takes that of the first run, so hyperparameters that
    only other variants have would be missing.
    """
    plain = {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in settings.items()}
    _, start, end = hparams(plain, {})
    with _row_writer(run_folder) as writer:
        for summary in (start, end):
            writer.add_summary(summary)
        _add_scalars(writer, results)


def add_to_row(path: Path, results: Mapping[str, float]) -> None:
    """Add later results, such as test scores, to the row of a run; nothing if the run has no row.

    Args:
        path: The run's folder or anything in it, such as a checkpoint.
        results: Values by name.
    """
    for folder in (path, *path.parents[:FOLDERS_IN_A_RUN]):
        if (folder / ROW_FOLDER).is_dir():
            with _row_writer(folder) as writer:
                _add_scalars(writer, results)
            break


@contextmanager
def _row_writer(run_folder: Path) -> Iterator[FileWriter]:
    writer = FileWriter(str(run_folder / ROW_FOLDER))
    try:
        yield writer
    finally:
        writer.close()


def _add_scalars(writer: FileWriter, results: Mapping[str, float]) -> None:
    for name, value in results.items():
        writer.add_summary(scalar(name, value), 0)

"""TensorBoard beyond scalars: its writers, the layout of charts, and rows of the HParams tab."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch.utils.tensorboard import FileWriter, SummaryWriter
from torch.utils.tensorboard.summary import hparams, scalar

LAYOUT = {
    "All runs": {
        "validation accuracy": ["Multiline", ["val/accuracy"]],
        "validation loss": ["Multiline", ["val/loss"]],
        "training accuracy": ["Multiline", ["train/accuracy"]],
        "training loss": ["Multiline", ["train/loss"]],
        "learning rate": ["Multiline", ["train/learning_rate"]],
        "images per second": ["Multiline", ["train/images_per_second"]],
    },
    "Training and validation of one run": {
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "accuracy": ["Multiline", ["train/accuracy", "val/accuracy"]],
    },
}
"""The Custom Scalars tab. The first charts have one line per run, so ten runs can be told apart."""

FIGURES = "visual"
"""The group of figures. TensorBoard sorts groups by name and opens the first ones: `train` and `val` come before it."""

FORMER_ROW_FOLDER = "hparams"
"""Where runs of older versions have their row of the HParams tab: a folder of its own in the run's folder."""

FOLDERS_IN_A_RUN = 5
"""How deep in a run's folder a checkpoint may be."""

EVENTS = "events.out.tfevents.*"


def writers(trainer: Trainer) -> list[SummaryWriter]:
    """TensorBoard's writers; none with other loggers, without a logger, and outside the main process."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return [logger.experiment for logger in loggers] if trainer.is_global_zero else []


def write_row(run_folder: Path, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
    """Give a run its row in the HParams tab: its hyperparameters and its results.

    `add_hparams` would also write the list of columns. TensorBoard takes that of the first run, so hyperparameters that
    only other variants have would be missing. Without a list, every scalar of a run is a column.
    """
    plain = {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in settings.items()}
    _, start, end = hparams(plain, {})
    with _file_writer(run_folder) as writer:
        for summary in (start, end):
            writer.add_summary(summary)
        _add_scalars(writer, results)


def add_to_row(path: Path, results: Mapping[str, float]) -> None:
    """Add later results, such as test scores, to the row of a run. Nothing is written if the run has no row.

    Args:
        path: The run's folder or anything in it, such as a checkpoint.
        results: Values by name.
    """
    for folder in (path, *path.parents[:FOLDERS_IN_A_RUN]):
        if row := _folder_of_row(folder):
            with _file_writer(row) as writer:
                _add_scalars(writer, results)
        if row or (folder / "metrics.csv").is_file():
            break


def _folder_of_row(folder: Path) -> Path | None:
    if (folder / FORMER_ROW_FOLDER).is_dir():
        return folder / FORMER_ROW_FOLDER
    return folder if next(folder.glob(EVENTS), None) else None


def show_images(pngs: Mapping[str, bytes], folder: Path) -> None:
    """Show figures in the Images tab, in place of those that the folder has shown before.

    Args:
        pngs: Each figure as PNG, by its name.
        folder: The folder that TensorBoard shows them for.
    """
    remove_events(folder)
    with SummaryWriter(str(folder)) as writer:
        for name, png in pngs.items():
            with Image.open(io.BytesIO(png)) as image:
                writer.add_image(f"{FIGURES}/{name}", np.asarray(image.convert("RGB")), dataformats="HWC")


def remove_events(folder: Path) -> None:
    """Make TensorBoard forget a folder."""
    for events in folder.glob(EVENTS):
        with suppress(OSError):  # Windows keeps files that are still open
            events.unlink()


@contextmanager
def _file_writer(folder: Path) -> Iterator[FileWriter]:
    writer = FileWriter(str(folder))
    try:
        yield writer
    finally:
        writer.close()


def _add_scalars(writer: FileWriter, results: Mapping[str, float]) -> None:
    for name, value in results.items():
        writer.add_summary(scalar(name, value), 0)

"""What goes into TensorBoard beside the scalars: who writes there, the charts' layout, and rows of the HParams tab."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

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
        "gradient norm": ["Multiline", ["layer_gradient_norm/.*"]],
        "size of an update over size of the weights": ["Multiline", ["layer_update_ratio/.*"]],
    },
}
"""The Custom Scalars tab: charts that hold all selected runs, and all layers of each, on the same axes."""

ROW_FOLDER = "hparams"
"""A row of the HParams tab has every scalar of its folder as a column: hence a folder of its own in the run's."""


def writers(trainer: Trainer) -> list[SummaryWriter]:
    """TensorBoard's writers of this process: none with other loggers, without a logger, and in all but one process."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return [logger.experiment for logger in loggers] if trainer.is_global_zero else []


def write_row(run_folder: Path, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
    """Give a run its row in the HParams tab: what was set, and what came of it.

    Not by `add_hparams`: it also writes which columns there are, TensorBoard believes the first run that does so, and
    the knobs of every other variant would be missing.
    """
    plain = {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in settings.items()}
    _, start, end = hparams(plain, {})
    with _row_writer(run_folder) as writer:
        for summary in (start, end):
            writer._get_file_writer().add_summary(summary)
        _add_scalars(writer, results)


def add_to_row(run_folder: Path, results: Mapping[str, float]) -> None:
    """Add what is known later, like test scores, to the row of a run; nothing if the run has none."""
    if (run_folder / ROW_FOLDER).is_dir():
        with _row_writer(run_folder) as writer:
            _add_scalars(writer, results)


@contextmanager
def _row_writer(run_folder: Path) -> Iterator[SummaryWriter]:
    writer = SummaryWriter(str(run_folder / ROW_FOLDER))
    try:
        yield writer
    finally:
        writer.close()


def _add_scalars(writer: SummaryWriter, results: Mapping[str, float]) -> None:
    for name, value in results.items():
        writer.add_scalar(name, value, 0)

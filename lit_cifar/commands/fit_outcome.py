"""The end of a `fit`: the summary of a finished run, or the removal of a run that never began."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_cifar.training import checkpoints
from lit_cifar.training.loggers import EventsFile, MetricsFile
from lit_cifar.training.module import LitClassifier

RESULTS = ("metrics.csv", "test.json", "predictions.csv", "checkpoints/*.ckpt")
"""Files of a run that has begun."""


def summary(trainer: Trainer, model: LitClassifier) -> str:
    """The best epoch, the learning rate and the best checkpoint of a finished run, and what to type next.

    Empty if no checkpoint was kept.
    """
    callback = trainer.checkpoint_callback
    if not isinstance(callback, ModelCheckpoint) or not Path(callback.best_model_path).is_file():
        return ""
    best = callback.best_model_path
    path = Path(best).relative_to(Path.cwd()) if Path(best).is_relative_to(Path.cwd()) else best
    epoch = checkpoints.read(best)["epoch"] + 1
    score = (
        f"{callback.monitor} {float(callback.best_model_score):.4f}" if callback.best_model_score is not None else ""
    )
    return (
        f"Best epoch: {epoch} of {trainer.current_epoch} ({score}). Learning rate: {model.learning_rate:.2g}.\n"
        f"Best weights: {path}\n"
        f"Next: lit-cifar test --ckpt_path {path}"
    )


def remove_unless_begun(trainer: Trainer) -> None:
    """Remove the folder of a run that failed before it produced anything, so that failed starts leave no trace."""
    first = trainer.logger
    events = first.events if isinstance(first, MetricsFile) else first
    if not trainer.is_global_zero or not isinstance(events, EventsFile) or not events.has_folder:
        return
    folder = Path(events.log_dir)
    if not any(found for pattern in RESULTS for found in folder.glob(pattern)):
        events.finalize("failed")
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # other runs of the variant are there
            folder.parent.rmdir()

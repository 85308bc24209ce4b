"""The files of a replica in the folder of its run, which are the same as those of a single run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from lit_cifar.callbacks.hparams_row import best_scores, run_settings
from lit_cifar.callbacks.run_description import describe_run
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.replicas.stack import TrainedReplica
from lit_cifar.training import checkpoints
from lit_cifar.training.loggers import run_loggers
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.run_folder import CHECKPOINTS
from lit_cifar.training.tensorboard import LAYOUT, write_row

BEST, BEST_BY_ACCURACY = "best.ckpt", "best_accuracy.ckpt"


def write_artifacts(trained: TrainedReplica, folder: Path, model: LitClassifier, data: CIFAR10DataModule) -> None:
    """Write `metrics.csv`, TensorBoard's events with a row in the HParams tab, and the best checkpoints.

    Args:
        trained: The replica.
        folder: The folder of its run.
        model: The classifier of its run, which is described in the checkpoints.
        data: The data of its run.
    """
    _write_metrics(trained, folder, model, data)
    if trained.training.epochs:
        by_loss, by_accuracy = trained.epoch_of(min, "val/loss"), trained.epoch_of(max, "val/accuracy")
        _write_checkpoint(folder / CHECKPOINTS / BEST, model, data, trained.by_loss, by_loss)
        _write_checkpoint(folder / CHECKPOINTS / BEST_BY_ACCURACY, model, data, trained.by_accuracy, by_accuracy)


def _write_metrics(trained: TrainedReplica, folder: Path, model: LitClassifier, data: CIFAR10DataModule) -> None:
    """Write the metrics of every epoch, and a description of the run."""
    loggers = run_loggers(folder, name="", version="")
    for epoch in trained.training.epochs:
        logged = {"train/seconds": math.nan, **epoch}  # the seconds of a stack aren't those of a run
        step = int(logged.pop("step"))
        for logger in loggers:
            logger.log_metrics(logged, step)
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            describe_run(logger.experiment, model.variant, data.data_source)
            logger.experiment.add_custom_scalars(LAYOUT)
    if trained.training.epochs and not trained.training.failure:
        best = trained.epoch_of(min, "val/loss")
        settings = run_settings(model, data, _optimizer_of(model), trained.replica.seed)
        write_row(folder, settings, best_scores(best["val/loss"], best["val/accuracy"]))
    for logger in loggers:
        logger.finalize("success")


def _write_checkpoint(
    path: Path,
    model: LitClassifier,
    data: CIFAR10DataModule,
    state: Mapping[str, Tensor],
    epoch: Mapping[str, float],
) -> None:
    """Save the weights as Lightning saves those of a single run."""
    content = {
        "epoch": int(epoch["epoch"]),
        "global_step": int(epoch["step"]) + 1,
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": {f"network.{name}": tensor for name, tensor in state.items()},
        checkpoints.KEY: checkpoints.describe(model.variant, model.class_names, model.learning_rate, data.origin),
    }
    checkpoints.WholeFiles().save_checkpoint(content, path)


def _optimizer_of(model: LitClassifier) -> Any:
    """An optimizer of the run, of which only the class and the options are used."""
    return model.optimizer(model.parameters(), model.learning_rate)

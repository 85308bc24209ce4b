"""The short runs of a learning-rate search as one stack of all its rates and seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from lit_cifar.lr_find.search import VALIDATIONS, ConfirmRun
from lit_cifar.replicas.clipping import clipping
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.optimizer import StackedOptimizer
from lit_cifar.replicas.replica import Replica
from lit_cifar.replicas.stack import stack_trainer, stacked_training
from lit_cifar.replicas.upkeep import StackUpkeep
from lit_cifar.training.module import LitClassifier


def short_runs(
    make: Callable[[Replica], LitClassifier],
    replicas: Sequence[Replica],
    data: StackedDataModule,
    *,
    epochs: int,
    **trainer_options: Any,
) -> list[ConfirmRun]:
    """Train some epochs and score them, as `lit_cifar.lr_find.search.short_run` does for a single network.

    Args:
        make: Seeds all random number generators and makes a replica's classifier, without its network.
        replicas: The replicas, sorted such that equal learning rates are neighbours.
        data: The data, with a seed for each replica.
        epochs: Number of epochs.
        trainer_options: Other arguments of the Trainer.

    Returns:
        Each replica's result.

    Raises:
        NotStackableError: If these replicas can't be trained as one stack.
    """
    clip, options = clipping(trainer_options)
    data.prepare_data()
    data.setup("fit")
    model, optimizer, sparsity = stacked_training(make, replicas, data, is_new=True)
    scores = Scores(replicas, optimizer)
    trainer = stack_trainer(
        [*clip, scores, sparsity],
        max_epochs=epochs,
        val_check_interval=1 / VALIDATIONS,
        enable_checkpointing=False,
        **options,
    )
    trainer.fit(model, datamodule=data)
    return [scores.of(index) for index in range(len(replicas))]


class Scores(StackUpkeep):
    """Record the scores of each validation, and which replicas have diverged.

    Args:
        replicas: All replicas of the stack, in its order.
        optimizer: The stack's optimizer factory.
    """

    def __init__(self, replicas: Sequence[Replica], optimizer: StackedOptimizer) -> None:
        super().__init__(replicas, optimizer)
        self.validations: list[Tensor] = []
        self.diverged = torch.zeros(len(replicas), dtype=torch.bool)
        """Whether each replica has had a loss that isn't finite."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        scores = pl_module.val_metric.compute()  # type: ignore[union-attr, operator]
        self.validations.append(torch.stack([scores["loss"], scores["accuracy"]], -1).view(-1, 2).double())
        self.diverged |= ~self.validations[-1][:, 0].isfinite().cpu()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.diverged |= self.bad_batch.cpu() >= 0

    def of(self, index: int) -> ConfirmRun:
        """A replica's result: its mean scores over the validations of the last epoch."""
        losses, accuracies = torch.stack(self.validations[-VALIDATIONS:])[:, index].T.tolist()
        rate = self.replicas[index].learning_rate
        if self.diverged[index]:
            return ConfirmRun(rate, math.inf, 0.0)
        return ConfirmRun(rate, fmean(losses), fmean(accuracies))

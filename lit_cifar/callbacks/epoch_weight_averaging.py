"""Stochastic weight averaging whose average is validated, checkpointed and tested in place of the weights."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from lit_cifar.utils.errors import UserError


class EpochWeightAveraging(WeightAveraging):
    """Average the weights that each epoch ends with (SWA; Izmailov et al. 2018, arXiv:1803.05407).

    Unlike Lightning's StochasticWeightAveraging, which averages after the last validation, every epoch is validated
    with the average so far, so the best epoch's checkpoint holds an average. The learning rate stays the scheduler's.

    Args:
        start_epoch: The first epoch that is averaged, counted from 0. Until then the weights stay as they are.
    """

    def __init__(self, start_epoch: int = 0) -> None:
        super().__init__(avg_fn=self._average)
        if start_epoch < 0:
            raise UserError(f"start_epoch={start_epoch} is negative: the first epoch is 0.")
        self.start_epoch = start_epoch
        self._epoch = 0
        self._epoch_ends = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._epoch, self._epoch_ends = trainer.current_epoch, trainer.is_last_batch
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """At an epoch's last step, which comes before its validation."""
        return step_idx is not None and self._epoch_ends

    def _average(self, average: Tensor, weights: Tensor, _updates: Tensor | int) -> Tensor:
        earlier = self._epoch - self.start_epoch
        return weights if earlier <= 0 else average + (weights - average) / (earlier + 1)

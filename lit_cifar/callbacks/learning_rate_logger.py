from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer


class LearningRateLogger(Callback):
    """Log the learning rate of each epoch's last step as `train/learning_rate`.

    Lightning's LearningRateMonitor names its curve after the optimizer, so runs with different optimizers would not
    share an axis, and it refuses to train without a logger.
    """

    def __init__(self) -> None:
        self._learning_rate = 0.0

    # Read before the step: at the end of an epoch a scheduler has already changed it.
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("train/learning_rate", self._learning_rate)


LearningRate = LearningRateLogger
"""The former name, which `config.yaml` files may contain."""

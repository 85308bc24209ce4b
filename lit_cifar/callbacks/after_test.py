from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from lightning import Callback, LightningModule, Trainer

from lit_cifar.callbacks.gathering import gathered
from lit_cifar.evaluation import Found


class AfterTest(Callback, ABC):
    """Collects what a test finds of each image, from all processes, and hands it to `report` in the main one."""

    def __init__(self) -> None:
        self._batches: list[Found] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches.clear()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._batches.append(outputs)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = gathered(self._batches, trainer)
        self._batches.clear()
        if trainer.is_global_zero:
            self.report(trainer, pl_module, found)

    @abstractmethod
    def report(self, trainer: Trainer, pl_module: LightningModule, found: Found) -> None:
        """Do something with what was found."""

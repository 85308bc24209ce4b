from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class EpochTime(Callback):
    """Log how long the training part of each epoch took, without validation.

    It is logged as `train/seconds`, and as `train/images_per_second` over all processes.
    """

    def __init__(self) -> None:
        self._started = 0.0
        self._seconds = 0.0
        self._seconds_before = 0.0
        self._images = 0

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": perf_counter() - self._started, "images": self._images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds_before, self._images = state_dict["seconds"], state_dict["images"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue the clock if the run is continued in the middle of an epoch."""
        self._started = perf_counter() - self._seconds_before

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = perf_counter()
        self._images = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._images += len(batch[1])
        if trainer.is_last_batch:
            _wait_for(pl_module.device)
        self._seconds = perf_counter() - self._started  # after each batch, because `max_steps` may end an epoch early

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("train/seconds", self._seconds)
        pl_module.log("train/images_per_second", self._images * trainer.world_size / self._seconds)


def _wait_for(device: torch.device) -> None:
    """Wait until an accelerator has taken the steps that are queued; on the CPU there is no queue."""
    if device.type != "cpu" and device.type == getattr(torch.accelerator.current_accelerator(), "type", None):
        torch.accelerator.synchronize(device)

"""Seconds of an epoch on an accelerator, whose steps are queued."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lit_cifar.callbacks import epoch_time
from lit_cifar.callbacks.epoch_time import EpochTime

STEP = 2.0
"""Seconds that the accelerator needs for a step; queueing it takes none."""


class Accelerator:
    """A clock, and an accelerator that works off its queue when it is waited for."""

    now = 100.0
    queued = 0

    def synchronize(self, device: torch.device) -> None:
        self.now += STEP * self.queued
        self.queued = 0


@pytest.mark.parametrize("device", ["cuda:0", "cpu", "meta"])
def test_the_last_batch_waits_for_an_accelerator(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator, logged = Accelerator(), {}
    monkeypatch.setattr(epoch_time, "perf_counter", lambda: accelerator.now)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "synchronize", accelerator.synchronize)
    trainer: Any = SimpleNamespace(is_last_batch=False, world_size=1)
    module: Any = SimpleNamespace(device=torch.device(device), log=logged.__setitem__)
    callback = EpochTime()
    callback.on_train_epoch_start(trainer, module)
    for batch in range(3):
        accelerator.now += 0.5
        accelerator.queued += 1
        trainer.is_last_batch = batch == 2
        callback.on_train_batch_end(trainer, module, None, (None, [0] * 10), batch)
    callback.on_train_epoch_end(trainer, module)
    seconds = 3 * 0.5 + (3 * STEP if device == "cuda:0" else 0)
    assert logged == {"train/seconds": seconds, "train/images_per_second": 30 / seconds}

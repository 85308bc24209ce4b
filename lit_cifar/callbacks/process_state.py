from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from lit_cifar.data.batches import BatchLoader
from lit_cifar.utils.errors import UserError

KEY = "processes"


class ProcessState(Callback):
    """Save what Lightning's checkpoints lack, so that a continued run equals one that never stopped.

    For each process this is the state of the random number generators (used by dropout and augmentation), the sums of
    the training metrics so far, the position in the epoch, and whether early stopping has decided to stop.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        state = {
            "random": random_states(),
            "train_metric": pl_module.train_metric.metric_state,  # type: ignore[union-attr]
            "should_stop": trainer.should_stop,
            "batches": loader.state_dict() if (loader := _loader(trainer)) else None,  # None before training has begun
        }
        checkpoint[KEY] = _of_every_process(state, trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        states = checkpoint[KEY]
        if len(states) != trainer.world_size:
            raise UserError(
                f"The run was trained by {len(states)} processes, and now there are {trainer.world_size}: to continue "
                f"it, give devices={len(states)}."
            )
        self._loaded = states[trainer.global_rank]

    # The last moment before the first batch is drawn: setting up may have used random numbers.
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._loaded is None:
            return
        for name, value in self._loaded["train_metric"].items():
            setattr(pl_module.train_metric, name, value.to(pl_module.device))
        loader = _loader(trainer)
        # Lightning forgets it when a scheduler has asked for the number of steps
        if trainer.fit_loop.restarting and loader and self._loaded["batches"]:
            loader.load_state_dict(self._loaded["batches"])
        set_random_states(self._loaded["random"])
        waited = any(stop.wait_count >= stop.patience for stop in trainer.early_stopping_callbacks)
        trainer.should_stop = self._loaded.get("should_stop", waited)  # checkpoints of version 0.1.0 don't say
        self._loaded = None
        _check_end_of_one_cycle(trainer)


def _loader(trainer: Trainer) -> BatchLoader | None:
    return trainer.train_dataloader


def _check_end_of_one_cycle(trainer: Trainer) -> None:
    for config in trainer.lr_scheduler_configs:
        planned = getattr(config.scheduler, "total_steps", None)
        if planned and planned != trainer.estimated_stepping_batches:
            raise UserError(
                f"A one-cycle run ends where it was planned to end, after {planned} steps, and not after "
                f"{trainer.estimated_stepping_batches}: leave max_epochs as it was."
            )


def random_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators as plain data."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Set what `random_states` gave."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"].cpu())
    torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"][: torch.cuda.device_count()]])
    mps = states.get("mps")  # older checkpoints don't have it
    if mps is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(mps.cpu())


def _of_every_process(state: dict[str, Any], trainer: Trainer) -> list[dict[str, Any]]:
    if trainer.world_size == 1:
        return [state]
    states: list[dict[str, Any]] = [{}] * trainer.world_size
    torch.distributed.all_gather_object(states, state)
    return states

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch.optim import Optimizer

from lit_cifar.evaluation import TEST_SCORES
from lit_cifar.training.tensorboard import add_to_row, write_row, writers


class HParamsRow(Callback):
    """Give each run a row in TensorBoard's HParams tab.

    `fit` writes the hyperparameters (variant and its arguments, learning rate, batch size, seed, …), the training time
    in seconds, and the validation scores of the best epoch. `test` adds its scores on clean images to the row of the
    run that the checkpoint is from.
    """

    def __init__(self) -> None:
        self._best: dict[str, float] = {}
        self._started = 0.0
        self._seconds_before = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "seconds": self._seconds()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._seconds_before = state_dict["best"], state_dict["seconds"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        now = {f"best/{name}": float(trainer.callback_metrics[f"val/{name}"]) for name in ("loss", "accuracy")}
        if now["best/loss"] <= self._best.get("best/loss", float("inf")):
            self._best = now

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        seed = int(os.environ.get("PL_GLOBAL_SEED", data.seed))
        settings = run_settings(pl_module, data, trainer.optimizers[0], seed)
        for writer in writers(trainer):
            write_row(Path(writer.log_dir), settings, {**self._best, "seconds": self._seconds()})

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_clean = trainer.datamodule.corruption is None  # type: ignore[attr-defined]
        if trainer.is_global_zero and trainer.ckpt_path and is_clean:
            scores = {f"test/{name}": float(trainer.callback_metrics[f"test/{name}"]) for name in TEST_SCORES}
            add_to_row(Path(trainer.ckpt_path), scores)

    def _seconds(self) -> float:
        return self._seconds_before + (perf_counter() - self._started if self._started else 0.0)


def run_settings(model: LightningModule, data: LightningDataModule, optimizer: Optimizer, seed: int) -> dict[str, Any]:
    """The hyperparameters of a run, as its row has them."""
    return {
        **model.variant.init_args,  # type: ignore[union-attr, dict-item]
        "variant": type(model.variant).__name__,
        "learning_rate": model.learning_rate,
        "optimizer": type(optimizer).__name__,
        "batch_size": data.batch_size,  # type: ignore[attr-defined]
        "seed": seed,
        "data": data.data_source,  # type: ignore[attr-defined]
    }

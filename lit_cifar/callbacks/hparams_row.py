from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch.optim import Optimizer

from lit_cifar.evaluation import TEST_SCORES
from lit_cifar.training.optimization import scheduler_name
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
        best = {name.replace("best/", "val/best_"): value for name, value in state_dict["best"].items()}  # former names
        self._best, self._seconds_before = best, state_dict["seconds"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        loss, accuracy = (float(trainer.callback_metrics[f"val/{name}"]) for name in ("loss", "accuracy"))
        if loss <= self._best.get("val/best_loss", float("inf")):
            self._best = best_scores(loss, accuracy)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        seed = int(os.environ.get("PL_GLOBAL_SEED", data.seed))
        settings = run_settings(pl_module, data, trainer.optimizers[0], seed)
        for writer in writers(trainer):
            write_row(Path(writer.log_dir), settings, {**self._best, "train/total_seconds": self._seconds()})

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_clean = trainer.datamodule.corruption is None  # type: ignore[attr-defined]
        if trainer.is_global_zero and trainer.ckpt_path and is_clean:
            scores = {f"test/{name}": float(trainer.callback_metrics[f"test/{name}"]) for name in TEST_SCORES}
            add_to_row(Path(trainer.ckpt_path), scores)

    def _seconds(self) -> float:
        return self._seconds_before + (perf_counter() - self._started if self._started else 0.0)


def best_scores(loss: float, accuracy: float) -> dict[str, float]:
    """The results in a run's row: validation loss and accuracy of the epoch with the lowest loss."""
    return {"val/best_loss": loss, "val/best_accuracy": accuracy}


def run_settings(model: LightningModule, data: LightningDataModule, optimizer: Optimizer, seed: int) -> dict[str, Any]:
    """The hyperparameters in a run's row. Regularization options are included if they are on.

    The seed is a text, because TensorBoard shows numbers with decimals.
    """
    options = {name: getattr(model, name) for name in ("warmup_epochs", "l1", "sparsity", "max_norm")}
    options |= {name: getattr(data, name) for name in ("flip", "crop_padding", "cutout", "mixup", "train_size")}
    return {
        **model.variant.init_args,  # type: ignore[union-attr, dict-item]
        "variant": type(model.variant).__name__,
        "learning_rate": model.learning_rate,
        "scheduler": scheduler_name(model.scheduler),  # type: ignore[arg-type]
        "optimizer": type(optimizer).__name__,
        "batch_size": data.batch_size,  # type: ignore[attr-defined]
        "seed": str(seed),
        "data": data.data_source,  # type: ignore[attr-defined]
        **{name: value for name, value in options.items() if value},
    }

from __future__ import annotations

from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lit_cifar.training import checkpoints


class RestoreBestWeights(Callback):
    """After training, put the weights of the best checkpoint back, as Keras' `restore_best_weights` does."""

    # Not `on_train_end`: ModelCheckpoint still saves the last weights there.
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if isinstance(trainer.checkpoint_callback, ModelCheckpoint) and best and Path(best).is_file():
            pl_module.load_state_dict(checkpoints.read(best)["state_dict"])

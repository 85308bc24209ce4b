from __future__ import annotations

from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, StochasticWeightAveraging

from lit_cifar.training import checkpoints

AVERAGED = "averaged.ckpt"


class RestoreBestWeights(Callback):
    """Put the weights of the best checkpoint back after training, as Keras' `restore_best_weights` does.

    `StochasticWeightAveraging` computes its weights after the last epoch, when the best checkpoint has been chosen.
    They are kept instead, and saved as `averaged.ckpt` beside the best checkpoint.
    """

    # Not in `on_train_end`: ModelCheckpoint still saves the last weights there.
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        checkpoint = best_checkpoint(trainer)
        if checkpoint is None or not Path(checkpoint.best_model_path).is_file():
            return
        if any(isinstance(callback, StochasticWeightAveraging) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            _keep_averaged(trainer, Path(checkpoint.best_model_path).with_name(AVERAGED))
        else:
            pl_module.load_state_dict(checkpoints.read(checkpoint.best_model_path)["state_dict"])


def best_checkpoint(trainer: Trainer) -> ModelCheckpoint | None:
    """The ModelCheckpoint that keeps the best epoch: the first that monitors a metric."""
    found = (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint))
    return next((callback for callback in found if callback.monitor), None)


def _keep_averaged(trainer: Trainer, path: Path) -> None:
    if trainer.current_epoch < (trainer.max_epochs or 0):
        print(
            f"StochasticWeightAveraging averages at the last epoch only, and training stopped after "
            f"{trainer.current_epoch} of {trainer.max_epochs} epochs: no averaged weights. Raise the early stopping's "
            "patience, or use EMAWeightAveraging, which averages from the first epoch on."
        )
        return
    trainer.save_checkpoint(path, weights_only=True)
    print(f"Averaged weights: {path}")

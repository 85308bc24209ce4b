from __future__ import annotations

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from lit_cifar.callbacks.best_weights import best_checkpoint
from lit_cifar.utils.errors import UserError


class NonFiniteLossError(UserError):
    """Training has diverged: the loss is NaN or infinite."""


class StopOnNonFiniteLoss(Callback):
    """Stop training when the loss is NaN or infinite, before a checkpoint of damaged weights is written.

    The validation loss is read after each validation.

    Args:
        every: The training loss is read after every `every`-th batch and after the last batch of an epoch. Reading it
            makes the CPU wait for the accelerator.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = every

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % self.every and not trainer.is_last_batch:
            return
        loss = outputs["loss"]
        if not torch.isfinite(loss):
            raise _diverged(trainer, divergence_message(loss.item(), trainer.current_epoch, batch_idx))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics.get("val/loss")
        is_training = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if is_training and loss is not None and not torch.isfinite(loss):
            raise _diverged(trainer, divergence_message(loss.item(), trainer.current_epoch))


def is_divergence(reason: object) -> bool:
    """Whether the reason of a failed run is a loss that became NaN or infinite."""
    return str(reason).startswith(NonFiniteLossError.__name__)


def divergence_message(loss: float, epoch: int, batch: int | None = None) -> str:
    """An error message for a loss that is NaN or infinite: of a batch, or without one of a validation.

    Args:
        loss: The loss.
        epoch: The epoch's index; the message counts epochs from 1.
        batch: The batch's index.
    """
    which, place = ("validation loss", "") if batch is None else ("loss", f", batch {batch}")
    return (
        f"The {which} became {loss} in epoch {epoch + 1}{place}: training has diverged. "
        "A smaller learning rate usually helps."
    )


def _diverged(trainer: Trainer, message: str) -> NonFiniteLossError:
    best = best_checkpoint(trainer)
    if best and best.best_model_path:
        message += f" The best checkpoint so far is kept: {best.best_model_path}."
    return NonFiniteLossError(message)

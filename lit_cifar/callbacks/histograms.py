from __future__ import annotations

import torch
from lightning import Callback, LightningModule, Trainer

from lit_cifar.callbacks.layer_statistics import activations, layers
from lit_cifar.training.tensorboard import writers
from lit_cifar.utils.errors import UserError


class Histograms(Callback):
    """Write histograms of every layer's weights and activations to TensorBoard.

    Args:
        every_n_epochs: How often; 0 is never.
        images: Number of validation images that the activations are of.
    """

    def __init__(self, every_n_epochs: int = 0, images: int = 500) -> None:
        if every_n_epochs < 0:
            raise UserError(f"every_n_epochs={every_n_epochs} is negative: use 0 for no histograms.")
        if images < 1:
            raise UserError(f"images={images} is too small: use at least 1.")
        self.every_n_epochs = every_n_epochs
        self.images = images

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.every_n_epochs or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        images = trainer.datamodule.val_images[: self.images].to(pl_module.device)  # type: ignore[attr-defined]
        for writer in writers(trainer):
            for name, layer in layers(pl_module).items():
                weights = torch.cat([p.detach().flatten() for p in layer.parameters()])
                writer.add_histogram(f"weights/{name}", weights, trainer.current_epoch)
            for name, output in activations(pl_module, images).items():
                writer.add_histogram(f"activations/{name}", output, trainer.current_epoch)

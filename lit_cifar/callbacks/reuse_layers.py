"""Transfer learning: start with the lower layers of a network that was trained on other classes or without labels."""

from __future__ import annotations

from itertools import islice
from typing import Any, Literal, get_args

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from lit_cifar.callbacks.non_finite_loss import StopOnNonFiniteLoss
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.console import say
from lit_cifar.utils.errors import UserError
from variants import Variant

DonorClasses = Literal["other", "same"]


class ReuseLayers(Callback):
    """Start with the lower layers of another network, frozen at first, then trained with the rest.

    The other network, the donor, comes from a checkpoint, or is trained first, with the seed of the data, its variant's
    learning rate, and NAdam. The scaling of the pixels is reused with the layers. While a layer is frozen it is in
    evaluation mode, so that batch normalization keeps the donor's statistics.

    By default the donor learns the classes that `classes` of the data leaves out (transfer learning; Yosinski et al.
    2014, arXiv:1411.1792). `donor=Autoencoder(), donor_classes="same"` pretrains without labels instead (unsupervised
    pretraining; Bengio et al. 2006, NIPS 19:153).

    Args:
        layers: Number of layers to reuse, counted from the input.
        unfreeze_epoch: The first epoch in which they are trained, counted from 0. Default: they stay frozen.
        ckpt_path: Checkpoint of the donor. Default: it is trained first.
        donor: The donor's variant. Default: the same variant.
        donor_classes: The donor is trained on all training images of the `other` classes, or of the `same` classes.
            `train_size` doesn't count. With `same`, use a donor that ignores labels.
        donor_epochs: Epochs of the donor's training.
    """

    def __init__(
        self,
        *,
        layers: int,
        unfreeze_epoch: int | None = None,
        ckpt_path: str | None = None,
        donor: Variant | None = None,
        donor_classes: DonorClasses = "other",
        donor_epochs: int = 10,
    ) -> None:
        if layers < 1 or donor_epochs < 1:
            raise UserError(f"layers={layers} and donor_epochs={donor_epochs}: both must be at least 1.")
        if unfreeze_epoch is not None and unfreeze_epoch < 0:
            raise UserError(f"unfreeze_epoch={unfreeze_epoch} is negative: the first epoch is 0.")
        if donor_classes not in get_args(DonorClasses):
            raise UserError(f"donor_classes={donor_classes!r} is not a choice: use 'other' or 'same'.")
        if ckpt_path and donor is not None:
            raise UserError("ckpt_path and donor exclude each other: the checkpoint says which variant the donor is.")
        self.layers = layers
        self.unfreeze_epoch = unfreeze_epoch
        self.ckpt_path = ckpt_path
        self.donor = donor
        self.donor_classes = donor_classes
        self.donor_epochs = donor_epochs

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Copy the donor's layers, unless a checkpoint is continued, which has them already."""
        own = self._lower(pl_module)
        if trainer.ckpt_path is None:
            donor = self._donor(trainer, pl_module)
            for layer, reused in zip(own, self._lower(donor), strict=True):
                _copy(reused, layer)
            _copy(*(model.built().get_submodule("scale") for model in (donor, pl_module)))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze before the training step is compiled."""
        self._freeze_or_train(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._freeze_or_train(trainer, pl_module)

    def _freeze_or_train(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trained = self.unfreeze_epoch is not None and trainer.current_epoch >= self.unfreeze_epoch
        for layer in self._lower(pl_module):
            layer.train(trained).requires_grad_(trained)

    def _lower(self, model: Any) -> list[nn.Module]:
        """The layers of a classifier to be reused: the first children of its network that have weights."""
        with_weights = [layer for layer in model.built().body.children() if any(True for _ in layer.parameters())]
        if self.layers >= len(with_weights):
            raise UserError(
                f"layers={self.layers} is too many: the network has {len(with_weights)} layers, and the last one "
                "belongs to its classes."
            )
        return list(islice(with_weights, self.layers))

    def _donor(self, trainer: Trainer, pl_module: Any) -> LitClassifier:
        if self.ckpt_path:
            return LitClassifier.load_from_checkpoint(self.ckpt_path, map_location="cpu")
        if trainer.world_size > 1:
            raise UserError("ReuseLayers trains its donor in one process: use devices=1, or give ckpt_path.")
        data = _all_images(trainer.datamodule, self.donor_classes)  # type: ignore[attr-defined]
        if trainer.progress_bar_callback is not None:
            say(f"Training a network on {', '.join(data.class_names)}, to reuse its lower layers …")
        with isolate_rng():
            torch.manual_seed(data.seed)
            return self._train(self.donor or pl_module.variant, data, trainer.strategy.root_device.type)

    def _train(self, variant: Variant, data: CIFAR10DataModule, accelerator: str) -> LitClassifier:
        donor = LitClassifier(variant, compile=False)
        Trainer(
            max_epochs=self.donor_epochs,
            accelerator=accelerator,
            devices=1,
            callbacks=[StopOnNonFiniteLoss()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
        ).fit(donor, datamodule=data)
        return donor


def _all_images(data: CIFAR10DataModule, classes: DonorClasses) -> CIFAR10DataModule:
    """All training images of the same classes as the data's, or of the classes that it leaves out.

    Raises:
        UserError: If it leaves out fewer than two classes.
    """
    everything = {**data.init_args, "train_size": None}
    if classes == "same":
        return CIFAR10DataModule(**everything)
    names = CIFAR10DataModule(**{**everything, "classes": None}).class_names
    others = [name for name in names if name not in data.class_names]
    if len(others) < 2:
        raise UserError(
            "ReuseLayers trains its donor on the classes that the data leaves out, and there must be at least two: "
            f"give classes, such as classes={list(names[::2])}, or ckpt_path."
        )
    return CIFAR10DataModule(**{**everything, "classes": others})


def _copy(reused: nn.Module, layer: nn.Module) -> None:
    try:
        layer.load_state_dict(reused.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"The donor's layers don't fit this network: {reason:.300} Use the same variant.") from error

"""Builds a classifier's network before a training, and checks that it gives one logit per class."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn

from lit_cifar.data.normalization import Scale
from lit_cifar.utils.errors import UserError


class NetworkBuilder(Callback):
    """Build a classifier's network when the data is known, before the other callbacks' `setup`.

    Lightning calls the module's own `setup` and `configure_model` after the callbacks' `setup`, which is too late for
    callbacks that copy or prune the network there.
    """

    def __init__(self) -> None:
        self._is_new = False

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if stage != "fit" or pl_module.network is not None:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        network = pl_module.build(data.class_names, Scale.fit(pl_module.variant.scaling, data.train_images))
        self._is_new = True
        check_logits(network, data.val_images[:2], len(data.class_names), type(pl_module.variant).__name__)
        # Lightning loads a checkpoint before it does this, which would round weights of double precision.
        trainer.precision_plugin.convert_module(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Load pretrained weights, now that Lightning has said whether a checkpoint is continued."""
        if self._is_new and trainer.ckpt_path is None:
            pl_module.variant.load_pretrained(pl_module.network.body)
        self._is_new = False


def image_shape(network: nn.Module) -> tuple[int, ...]:
    """Channels, height and width of the images that a network, or each network of a stack, takes."""
    scale = next(module for module in network.modules() if isinstance(module, Scale))
    return tuple(scale.mean.shape[-3:])


@torch.no_grad()
def check_logits(network: nn.Module, images: Tensor, classes: int, name: str) -> None:
    """Check that a network returns logits [N, classes] for images [N, C, H, W].

    Raises:
        UserError: if it returns anything else; a loss may not notice more logits than classes.
    """
    modes = {module: module.training for module in network.modules()}
    try:
        logits = network.eval()(images)
    finally:
        for module, training in modes.items():
            module.training = training
    found = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else f"type {type(logits).__name__}"
    if not isinstance(logits, Tensor) or list(logits.shape) != [len(images), classes]:
        raise UserError(
            f"The network of {name} must return a tensor of logits [N, classes], which is {[len(images), classes]} for "
            f"{len(images)} images; it returned an output of {found}."
        )

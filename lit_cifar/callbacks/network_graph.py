from __future__ import annotations

import warnings

import torch
from lightning import Callback, LightningModule, Trainer

from lit_cifar.callbacks.layer_statistics import evaluating
from lit_cifar.training.tensorboard import writers


class NetworkGraph(Callback):
    """Write the network's graph to TensorBoard, if it can be traced."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        image = trainer.datamodule.val_images[:1].to(pl_module.device)  # type: ignore[attr-defined]
        for writer in writers(trainer):
            with warnings.catch_warnings(), evaluating(pl_module), torch.no_grad():
                warnings.simplefilter("ignore")
                try:
                    writer.add_graph(pl_module.network, image)
                except Exception as error:  # noqa: BLE001 - training works without a graph
                    print(f"TensorBoard gets no graph of this network: {str(error).partition(chr(10))[0]}")

"""LitClassifier: the single LightningModule. The variant it is given builds the network; everything else is equal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torchmetrics import Metric

import variants
from lit_cifar import checkpoints
from lit_cifar.batches import Batch
from lit_cifar.errors import UserError
from lit_cifar.flat_parameters import FlatParameters, can_flatten, is_elementwise
from lit_cifar.optimizers import FusedNAdam
from lit_cifar.scaling import Scale
from variants import Variant

OptimizerFactory = Callable[[Iterable[nn.Parameter], float], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]
ImageShape = tuple[int, int, int]


class LossAndAccuracy(Metric):
    """Mean loss and share of right answers over an epoch: summed on the device, read once, summed over processes."""

    totals: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(3), dist_reduce_fx="sum")

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss, logits [B, classes] and labels [B]."""
        batch_size = len(labels)
        correct = (logits.argmax(1) == labels).sum()
        self.totals += torch.stack([loss.detach() * batch_size, correct, torch.full_like(correct, batch_size)])

    def compute(self) -> dict[str, Tensor]:
        loss, correct, count = self.totals
        return {"loss": loss / count, "accuracy": correct / count}


class LitClassifier(LightningModule):
    """Trains, tests and predicts with the network that a variant builds.

    The network takes uint8 images [B, 3, 32, 32] and returns logits [B, classes]; its first layer scales the pixels.
    It is built when the data is known, in `setup`, or from a checkpoint.

    Args:
        variant: The recipe of the network, by class name (`SELU`) or class path (`my_module.MyVariant`). A checkpoint
            knows its own; `fit` must be given one.
        learning_rate: Learning rate; for one-cycle, its peak. Default: the one found for the variant.
        optimizer: Optimizer class; its options follow, as in `--model.optimizer SGD --model.optimizer.momentum 0.9`.
        scheduler: None (a constant learning rate), `one_cycle` (Smith 2018, arXiv:1803.09820; stepped every batch), or
            a torch scheduler class, stepped every epoch.
    """

    def __init__(
        self,
        variant: Variant | None = None,
        *,
        learning_rate: float | None = None,
        optimizer: OptimizerFactory = FusedNAdam,
        scheduler: SchedulerFactory | Literal["one_cycle"] | None = None,
    ) -> None:
        super().__init__()
        if variant is None:
            raise UserError(f"Which variant? Give --model.variant NAME, one of {', '.join(variants.available())}.")
        if learning_rate is not None and not 0 < learning_rate < float("inf"):
            raise UserError(f"--model.learning_rate {learning_rate} is out of range: give a number above 0, like 1e-3.")
        self.variant = variant
        self.learning_rate = learning_rate or variant.learning_rate
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.network: nn.Sequential | None = None
        self._flat: FlatParameters | None = None
        self.class_names: tuple[str, ...] = ()
        self.train_metric, self.val_metric, self.test_metric = (LossAndAccuracy() for _ in range(3))

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.network is None:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self.build(data.class_names, Scale.fit(self.variant.scaling, data.train_images))

    def build(self, class_names: Sequence[str], scale: Scale) -> nn.Sequential:
        """Build the network, with fresh weights, for these classes and behind this scaling layer."""
        channels, height, width = scale.mean.shape
        body = self.variant.build((channels, height, width), len(class_names))
        self.class_names = tuple(class_names)
        self.network = nn.Sequential(OrderedDict(scale=scale, body=body))
        return self.network

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of uint8 images [B, 3, 32, 32]."""
        if self.network is None:
            raise UserError("There are no trained weights yet: fit first, or give --ckpt_path FILE.")
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step("train", batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._step("test", batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Class probabilities [B, classes] and the index of each image in the prediction set, [B]."""
        images, indices = batch
        return {"indices": indices, "probabilities": self(images).softmax(1)}

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train")

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self._optimizer()
        if self.scheduler is None:
            return optimizer
        if self.scheduler != "one_cycle":
            return [optimizer], [self.scheduler(optimizer)]
        total_steps = self.trainer.estimated_stepping_batches
        if total_steps == float("inf"):
            raise UserError("One-cycle must know where it ends: give --trainer.max_epochs N.")
        one_cycle = OneCycleLR(optimizer, max_lr=self.learning_rate, total_steps=int(total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": one_cycle, "interval": "step"}}

    def _optimizer(self) -> Optimizer:
        parameters = list(self.parameters())
        optimizer = self.optimizer(parameters, self.learning_rate)
        self._flat = None
        if is_elementwise(optimizer) and can_flatten(parameters):
            self._flat = FlatParameters(parameters)
            optimizer = self.optimizer(self._flat.pieces, self.learning_rate)
        return optimizer

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        if self._flat is None:
            optimizer.zero_grad()
        else:
            self._flat.zero_grad()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.network is not None:
            checkpoint[checkpoints.KEY] = checkpoints.describe(self.variant, self.class_names, self.learning_rate)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        described = checkpoints.description(checkpoint)
        if self.network is None:
            mean = checkpoint["state_dict"]["network.scale.mean"]
            self.build(described["class_names"], Scale.empty(tuple(mean.shape)))
        elif list(self.class_names) != described["class_names"]:
            raise UserError(
                f"The checkpoint knows the classes {', '.join(described['class_names'])}; the data has "
                f"{', '.join(self.class_names)}. Use the data the checkpoint was trained on."
            )

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, *, variant: Variant | None = None, **kwargs: Any
    ) -> LitClassifier:
        """Rebuild a trained classifier from its file alone; only plain data is read from it.

        Raises:
            UserError: if the file isn't a checkpoint of this project.
            variants.VariantError: if its variant isn't registered here and none is given.
        """
        described = checkpoints.description(checkpoints.read(checkpoint_path))
        variant = variant or variants.from_spec(described["variant"])
        kwargs.setdefault("learning_rate", described["learning_rate"])
        return super().load_from_checkpoint(checkpoint_path, weights_only=True, variant=variant, **kwargs)

    def _step(self, stage: str, batch: Batch) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        self._metric(stage).update(loss, logits, labels)
        return loss

    def _metric(self, stage: str) -> LossAndAccuracy:
        metric: LossAndAccuracy = getattr(self, f"{stage}_metric")
        return metric

    def _log_epoch(self, stage: str) -> None:
        metric = self._metric(stage)
        values = {f"{stage}/{name}": value for name, value in metric.compute().items()}
        metric.reset()
        # The metric has already summed over processes, so every process logs the same value.
        self.log_dict(values, prog_bar=True, sync_dist=False, rank_zero_only=False)

"""The callback that treats each replica of a stack as a run: metrics, early stopping, best weights, failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from lit_cifar.callbacks.non_finite_loss import divergence_message
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.layers import activation_statistics, step_statistics, weights_by_layer
from lit_cifar.replicas.optimizer import StackedOptimizer
from lit_cifar.replicas.replica import Replica, Training
from lit_cifar.replicas.sparsity import StackedSparsity
from lit_cifar.replicas.upkeep import StackUpkeep

VALIDATION_IMAGES = 500
"""Images for the layer statistics, as in LayerStatistics."""

Report = Callable[[str, int, float], None]
"""Called after each epoch with the replica's label, the number of epochs so far and the validation accuracy."""


class ReplicaTracker(StackUpkeep):
    """Follow each replica of a stack as Lightning's callbacks follow a single run.

    At the end of each epoch it notes every replica's metrics and layer statistics, keeps its best weights, and decides
    whether it goes on. Replicas that have stopped leave the stack: at once in eager training; in compiled training,
    which has to be compiled again, when half of the stack has stopped.

    Args:
        replicas: All replicas of the stack, in its order.
        patience: Epochs without a lower validation loss after which a replica stops.
        optimizer: The stack's optimizer factory.
        sparsity: Keeps the stack's pruning masks.
        report: Called after each epoch of a replica.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        patience: int,
        optimizer: StackedOptimizer,
        sparsity: StackedSparsity,
        report: Report = lambda *_: None,
    ) -> None:
        super().__init__(replicas, optimizer)
        self.trainings = [Training(patience) for _ in replicas]
        self.best: dict[str, dict[str, Tensor]] = {"loss": {}, "accuracy": {}}
        self.sparsity = sparsity
        self.report = report
        self._before: dict[str, Tensor] = {}
        self._last_step: dict[str, Tensor] = {}
        self._rates: list[float] = []
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "trainings": [training.to_dict() for training in self.trainings],
            "active": self.active,
            "best": self.best,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.trainings = [Training(**training) for training in state_dict["trainings"]]
        self.active = state_dict["active"]
        self.best = state_dict["best"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        for best in self.best.values():
            best.update({name: tensor.to(pl_module.device) for name, tensor in best.items()})

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._started = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if batch_idx == trainer.num_training_batches - 1:
            self._before = weights_by_layer(self.network)
            self._rates = [group["lr"] for group in trainer.optimizers[0].param_groups]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if batch_idx == trainer.num_training_batches - 1:
            self._last_step = step_statistics(self.network, self._before)
            self._before = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge every replica's epoch, before the metrics start anew."""
        seconds = time.perf_counter() - self._started
        train = _rows("train", pl_module.train_metric.compute())  # type: ignore[union-attr, operator]
        val = _rows("val", pl_module.val_metric.compute())  # type: ignore[union-attr, operator]
        data: StackedDataModule = trainer.datamodule  # type: ignore[attr-defined]
        images = data.first_validation_images(VALIDATION_IMAGES).to(pl_module.device)
        found = {**activation_statistics(self.network, images), **self._last_step}
        layers = _rows("layer", found, separator="_")
        self._fail_those_that_blew_up(trainer.current_epoch)
        improved: dict[str, list[int]] = {"loss": [], "accuracy": []}
        for place, index in enumerate(self.active):
            training = self.trainings[index]
            if training.stopped:
                continue
            logged = {**train[place], **val[place], **layers[place], "stack/seconds": seconds}
            logged["train/learning_rate"] = self._rate(place)
            judged = training.judge(logged["val/loss"], logged["val/accuracy"])
            for best, is_best in zip(improved, judged, strict=True):
                improved[best] += [place] if is_best else []
            training.epochs.append({"epoch": trainer.current_epoch, "step": trainer.global_step - 1, **logged})
            self.report(self.replicas[index].label, len(training.epochs), logged["val/accuracy"])
        for best, places in improved.items():
            self._keep_weights(self.best[best], places)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        running = [index for index in self.active if not self.trainings[index].stopped]
        trainer.should_stop = not running
        compiled = getattr(pl_module, "_compiled", None) is not None
        places = _staying([index in running for index in self.active], self.optimizer)
        if running and len(places) < len(self.active) and len(running) <= len(self.active) / (2 if compiled else 1):
            self._shrink(trainer, places)
            if compiled:
                pl_module.compile_training_step()  # type: ignore[operator]

    def _rate(self, place: int) -> float:
        groups = self.optimizer.groups.groups
        return next(rate for rate, group in zip(self._rates, groups, strict=True) if place in group.replicas)

    def _fail_those_that_blew_up(self, epoch: int) -> None:
        bad = zip(self.active, self.bad_batch.tolist(), self.bad_loss.tolist(), strict=True)
        for index, batch, loss in bad:
            if batch >= 0 and not self.trainings[index].stopped:
                self.trainings[index].fail(f"NonFiniteLossError: {divergence_message(loss, epoch, batch)}")

    @torch.no_grad()
    def _keep_weights(self, best: dict[str, Tensor], places: Sequence[int]) -> None:
        if not places:
            return
        device = next(self.network.parameters()).device
        here, there = (torch.tensor(i, device=device) for i in (places, [self.active[place] for place in places]))
        for name, tensor in self.network.each.state_dict().items():
            if name not in best:
                best[name] = tensor.new_zeros(len(self.replicas), *tensor.shape[1:])
            best[name][there] = tensor[here]

    def _shrink(self, trainer: Trainer, places: Sequence[int]) -> None:
        """Let the replicas at all other places leave."""
        data: StackedDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self.network.keep(places)
        self.optimizer.groups.keep(places, trainer.optimizers[0])
        self.sparsity.keep(places)
        data.keep(places)
        self.active = [self.active[place] for place in places]


def _staying(running: Sequence[bool], optimizer: StackedOptimizer) -> list[int]:
    """The places of those that run, and of one that has stopped where all of a learning rate have."""
    places: list[int] = []
    for group in optimizer.groups.groups:
        places += [place for place in group.replicas if running[place]] or [group.replicas.start]
    return places


def _rows(stage: str, values: dict[str, Tensor], separator: str = "/") -> list[dict[str, float]]:
    """Each replica's values, of tensors [R]; read from the device once."""
    columns = [value.double().flatten() for value in values.values()]  # torchmetrics squeezes [1] to a number
    table = torch.stack(columns, 1).tolist()
    return [dict(zip((f"{stage}{separator}{name}" for name in values), row, strict=True)) for row in table]

"""The callback that follows each replica of a stack: metrics, early stopping, best weights, failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.layers import activation_statistics, step_statistics, weights_by_layer
from lit_cifar.replicas.optimizer import StackedOptimizer
from lit_cifar.replicas.replica import Replica, Training
from lit_cifar.replicas.sparsity import StackedSparsity
from lit_cifar.replicas.upkeep import StackUpkeep

VALIDATION_IMAGES = 500
"""Images for the layer statistics, as in LayerStatistics."""

COMPILING_COSTS = {"cuda": 700_000}
"""Steps of single replicas that take as long as compiling the step of a stack, which is about 15 s. On an H100, a
replica's step takes about 22 µs in a stack of 64."""

COMPILING_COSTS_ELSEWHERE = 5_000
"""The same on a CPU, where a replica's step takes about 3 ms."""

Report = Callable[[str, int, float], None]
"""Called after each epoch with the replica's label, the number of epochs so far and the validation accuracy."""


class ReplicaTracker(StackUpkeep):
    """Follow each replica of a stack as Lightning's callbacks follow a single run.

    At the end of each epoch it records the metrics and layer statistics of every replica, keeps its best weights, and
    decides whether it continues. Replicas that have stopped leave the stack. In eager training they leave at once.
    Compiled training has to be compiled again for a smaller stack, so they leave when the steps they have taken since
    they stopped cost as much as that (`COMPILING_COSTS`).

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
        self.idle_steps = 0
        """Steps of stopped replicas that could have left, since the stack was compiled."""
        self._before: dict[str, Tensor] = {}
        self._last_step: dict[str, Tensor] = {}
        self._rates: list[float] = []
        self._started = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {
            "trainings": [training.to_dict() for training in self.trainings],
            "active": self.active,
            "best": self.best,
            "idle_steps": self.idle_steps,
            "dropout_steps": self.network.steps(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.trainings = [Training(**training) for training in state_dict["trainings"]]
        self.active = state_dict["active"]
        self.best = state_dict["best"]
        self.idle_steps = state_dict.get("idle_steps", 0)  # older versions didn't count
        self.dropout_steps = state_dict.get("dropout_steps", [])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        for best in self.best.values():
            best.update({name: tensor.to(pl_module.device) for name, tensor in best.items()})

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.idle_steps += (len(self.active) - len(self._staying())) * int(trainer.num_training_batches)
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
        """Record every replica's epoch, before the metrics are reset."""
        train = _rows("train", pl_module.train_metric.compute())  # type: ignore[union-attr, operator]
        val = _rows("val", pl_module.val_metric.compute())  # type: ignore[union-attr, operator]
        seconds = time.perf_counter() - self._started  # an accelerator has done its work once metrics are read
        data: StackedDataModule = trainer.datamodule  # type: ignore[attr-defined]
        images = data.first_validation_images(VALIDATION_IMAGES)
        found = {**activation_statistics(self.network, images), **self._last_step}
        layers = _rows("layer", found, separator="_")
        self._fail_diverged(trainer.current_epoch)
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
        self._clear_failed()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = all(self.trainings[index].stopped for index in self.active)
        places = self._staying()
        if trainer.should_stop or len(places) == len(self.active):
            return
        if getattr(pl_module, "_compiled", None) is None:
            self._shrink(trainer, places)
        elif self.idle_steps >= COMPILING_COSTS.get(pl_module.device.type, COMPILING_COSTS_ELSEWHERE):
            self._shrink(trainer, places)
            self.idle_steps = 0
            pl_module.compile_training_step()  # type: ignore[operator]

    def _staying(self) -> list[int]:
        """The places of the replicas that continue; one that has stopped stays if its rate has no others."""
        places: list[int] = []
        for group in self.optimizer.groups.groups:
            running = [place for place in group.replicas if not self.trainings[self.active[place]].stopped]
            places += running or [group.replicas.start]
        return places

    def _rate(self, place: int) -> float:
        groups = self.optimizer.groups.groups
        return next(rate for rate, group in zip(self._rates, groups, strict=True) if place in group.replicas)

    def _fail_diverged(self, epoch: int) -> None:
        bad = zip(self.active, self.bad_batch.tolist(), self.bad_loss.tolist(), strict=True)
        for index, batch, loss in bad:
            if batch >= 0 and not self.trainings[index].stopped:
                self.trainings[index].diverge(loss, epoch, batch)

    @torch.no_grad()
    def _clear_failed(self) -> None:
        """Set all weights of failed replicas to zero: checkpoints and compiled steps with NaN would be refused."""
        if places := [place for place, index in enumerate(self.active) if self.trainings[index].failure]:
            for tensor in self.network.tensors().values():
                tensor[places] = 0

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
        """Remove the replicas at all other places from the stack."""
        data: StackedDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self.network.keep(places)
        self.optimizer.groups.keep(places, trainer.optimizers[0])
        self.sparsity.keep(places)
        data.keep(places)
        self.active = [self.active[place] for place in places]


def _rows(stage: str, values: dict[str, Tensor], separator: str = "/") -> list[dict[str, float]]:
    """The values of each replica, from tensors [R]; they are read from the device all at once."""
    columns = [value.flatten() for value in values.values()]  # torchmetrics turns [1] into a number
    table = torch.stack(columns, 1).cpu().double().tolist()  # Apple's GPUs have no double precision
    return [dict(zip((f"{stage}{separator}{name}" for name in values), row, strict=True)) for row in table]

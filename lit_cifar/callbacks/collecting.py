"""Collects what `test_step` and `predict_step` return, over batches and processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from lit_cifar.evaluation import Found


class Collecting(Callback, ABC):
    """Base class of callbacks that need the outputs of all batches and processes at once."""

    def __init__(self) -> None:
        self._batches: list[Found] = []

    def start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches.clear()

    def collect(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._batches.append(outputs)

    def finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        found = gathered(self._batches, trainer)
        self._batches.clear()
        if trainer.is_global_zero:
            self.report(trainer, pl_module, found)

    @abstractmethod
    def report(self, trainer: Trainer, pl_module: LightningModule, found: Found) -> None:
        """Use the outputs [N, ...] of all images, by name; called in the main process only."""


class AfterTest(Collecting):
    """Collects the outputs of `test_step`."""

    on_test_start = Collecting.start
    on_test_batch_end = Collecting.collect
    on_test_epoch_end = Collecting.finish


class AfterPredict(Collecting):
    """Collects the outputs of `predict_step`."""

    on_predict_start = Collecting.start
    on_predict_batch_end = Collecting.collect
    on_predict_epoch_end = Collecting.finish


def gathered(batches: Sequence[Mapping[str, Tensor]], trainer: Trainer) -> dict[str, Tensor]:
    """Concatenate the outputs of all processes to [N, ...], on the CPU, sorted by their `indices` [N]."""
    columns = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    columns = {name: _of_all_processes(values, trainer) for name, values in columns.items()}
    order = columns.pop("indices").argsort()
    return {name: values[order] for name, values in columns.items()}


def _of_all_processes(values: Tensor, trainer: Trainer) -> Tensor:
    """The values of all processes, on the CPU; each process may hold a different number of rows."""
    if trainer.world_size == 1:
        return values.cpu()
    return torch.cat([part.cpu() for part in gather_all_tensors(values.to(trainer.strategy.root_device))])

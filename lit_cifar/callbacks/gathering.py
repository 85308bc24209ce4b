"""Putting together what batches and processes have found of each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from lightning import Trainer
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors


def gathered(batches: Sequence[Mapping[str, Tensor]], trainer: Trainer) -> dict[str, Tensor]:
    """What the batches of all processes hold [N, ...], on the CPU, in the order of their `indices` [N]."""
    columns = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    columns = {name: _of_all_processes(values, trainer) for name, values in columns.items()}
    order = columns.pop("indices").argsort()
    return {name: values[order] for name, values in columns.items()}


def _of_all_processes(values: Tensor, trainer: Trainer) -> Tensor:
    """The values of all processes, on the CPU; each process may hold a different number of rows."""
    if trainer.world_size == 1:
        return values.cpu()
    return torch.cat([part.cpu() for part in gather_all_tensors(values.to(trainer.strategy.root_device))])

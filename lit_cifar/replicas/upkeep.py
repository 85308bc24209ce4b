"""The base class of the callbacks that train a stack: gradients by learning rate, seeds, non-finite losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor
from torch.optim import Optimizer

from lit_cifar.replicas.network import StackedNetwork
from lit_cifar.replicas.optimizer import StackedOptimizer
from lit_cifar.replicas.replica import Replica

CHECK_LOSS_EVERY = 50
"""Steps between checks for a loss that isn't finite, as in StopOnNonFiniteLoss."""


class StackUpkeep(Callback):
    """Pass gradients on to the optimizer's parameters, seed each epoch, and record losses that aren't finite.

    Args:
        replicas: All replicas of the stack, in its order.
        optimizer: The stack's optimizer factory.
    """

    def __init__(self, replicas: Sequence[Replica], optimizer: StackedOptimizer) -> None:
        self.replicas = replicas
        self.optimizer = optimizer
        self.active = list(range(len(replicas)))
        """The index of the replica at each place in the stack."""
        self.bad_batch = torch.empty(0)
        """For each place, the batch of the first loss in this epoch that isn't finite; -1 if there is none."""
        self.bad_loss = torch.empty(0)
        """For each place, that loss."""
        self.dropout_steps: list[int] = []
        """The network's `steps` in the checkpoint that is resumed."""

    @property
    def network(self) -> StackedNetwork:
        """The stack."""
        return self.optimizer.network

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.network.set_steps(self.dropout_steps or trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed = _seed_of_epoch([self.replicas[index].seed for index in self.active], trainer.current_epoch)
        seed_everything(seed, workers=True, verbose=False)  # for random layers that are not torch's dropout
        self.optimizer.groups.refresh()  # compiling may have moved parameters
        self.bad_batch = torch.full((len(self.active),), -1, device=pl_module.device)
        self.bad_loss = torch.zeros(len(self.active), device=pl_module.device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.optimizer.groups.drop_gradients()  # a step isn't compiled if on_before_zero_grad is overridden

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self.optimizer.groups.give_gradients()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % CHECK_LOSS_EVERY == 0 or trainer.is_last_batch:
            self._note_bad_losses(outputs["totals"], batch_idx)

    def _note_bad_losses(self, totals: Tensor, batch_idx: int) -> None:
        """Record the first loss that isn't finite of each replica, without waiting for the device."""
        losses = totals[:, 0] / totals[:, 2]
        is_first = ~losses.isfinite() & (self.bad_batch < 0)
        self.bad_batch = torch.where(is_first, batch_idx, self.bad_batch)
        self.bad_loss = torch.where(is_first, losses.to(self.bad_loss.dtype), self.bad_loss)


def _seed_of_epoch(seeds: Sequence[int], epoch: int) -> int:
    """The seed of torch's generator in an epoch, so that a resumed stack draws the same as an uninterrupted one."""
    return sum(place * (seed + 1) for place, seed in enumerate(seeds, 1)) * 100_003 + epoch & 0xFFFFFFFF

"""Learning-rate schedules that torch lacks, or that depend on the length of the training."""

from __future__ import annotations

from lightning import Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingWarmRestarts,
    CyclicLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
)

from lit_cifar.utils.errors import UserError

ABSOLUTE = (CosineAnnealingWarmRestarts, CyclicLR, LambdaLR, OneCycleLR)
"""Schedulers that set the learning rate instead of multiplying it, so a warm-up has no effect on them."""


class PowerLR(LRScheduler):
    """Power scheduling: divide the learning rate by (1 + epoch / `epochs`) ** `power`.

    Senior et al. 2013, An empirical study of learning rates in deep neural networks for speech recognition. Unlike
    torch's PolynomialLR, it never reaches zero and doesn't need to know where training ends.

    Args:
        optimizer: The optimizer.
        epochs: Epochs until the rate is 1 / 2 ** `power` of the first one.
        power: The exponent.

    Raises:
        UserError: If one of them isn't positive.
    """

    def __init__(self, optimizer: Optimizer, epochs: float = 10.0, power: float = 1.0) -> None:
        if not (epochs > 0 and power > 0):
            raise UserError(f"PowerLR with epochs={epochs:g} and power={power:g}: both must be above 0.")
        self.epochs = epochs
        self.power = power
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of each parameter group in the next epoch."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if self.last_epoch == 0:
            return rates
        now = self.epochs + self.last_epoch
        return [rate * ((now - 1) / now) ** self.power for rate in rates]


def one_cycle(optimizer: Optimizer, trainer: Trainer) -> OneCycleLR:
    """torch's OneCycleLR over the whole training, to be stepped after each batch.

    Momentum falls while the learning rate rises, where the optimizer has one in all of its groups.

    Raises:
        UserError: If the training has no known end.
    """
    total_steps = trainer.estimated_stepping_batches
    if total_steps == float("inf"):
        raise UserError("One-cycle must know where it ends: give the Trainer max_epochs or max_steps.")
    peaks = [group["lr"] for group in optimizer.param_groups]
    has_momentum = not {"momentum", "betas"}.isdisjoint(optimizer.defaults)
    return OneCycleLR(optimizer, max_lr=peaks, total_steps=int(total_steps), cycle_momentum=has_momentum)


def warm_up(optimizer: Optimizer, trainer: Trainer, epochs: int) -> LinearLR:
    """A factor that rises linearly from 0 to 1 in the first epochs, to be stepped after each batch.

    It multiplies the learning rate of any other schedule.
    """
    trainer.fit_loop.setup_data()
    steps = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches) * epochs
    return LinearLR(optimizer, start_factor=1 / steps, total_iters=steps - 1)

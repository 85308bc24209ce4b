"""The optimizer and the learning-rate scheduler of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from lightning import Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import SGD, Optimizer, SparseAdam
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lit_cifar.training.muon import MuonWithAdamW
from lit_cifar.training.schedules import ABSOLUTE, one_cycle, warm_up
from lit_cifar.utils.errors import UserError

OptimizerFactory = Callable[[Iterable[nn.Parameter], float], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]
Scheduler = Literal["one_cycle"] | SchedulerFactory | None
Config = dict[str, Any]


def make_optimizer(factory: OptimizerFactory, parameters: Iterable[nn.Parameter], learning_rate: float) -> Optimizer:
    """Make an optimizer.

    Raises:
        UserError: if it can't train these parameters.
    """
    try:
        optimizer = factory(parameters, learning_rate)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        other = MuonWithAdamW.__name__ if "Muon" in reason else "another one, such as SGD"
        raise UserError(f"The optimizer can't train this network: {reason:.300} Use {other}.") from error
    if isinstance(optimizer, SparseAdam):
        raise UserError("SparseAdam needs sparse gradients, and those of these networks are dense: use Adam.")
    if callable(getattr(optimizer, "eval", None)):  # a schedule-free one
        raise UserError(
            f"{type(optimizer).__name__} must be switched to other weights for each validation, which isn't done here: "
            "use another optimizer with a scheduler, such as AdamW with one_cycle."
        )
    return optimizer


def make_scheduler(
    scheduler: Scheduler, optimizer: Optimizer, trainer: Trainer, warmup_epochs: int = 0
) -> OptimizerLRScheduler:
    """What `configure_optimizers` returns for an optimizer and a scheduler.

    Args:
        scheduler: None, `one_cycle`, which is stepped after each batch, or a factory of torch's schedulers, which are
            stepped after each epoch. ReduceLROnPlateau monitors `val/loss`, unless it names another metric as
            Lightning's class of that name does, and is stepped after each validation.
        optimizer: The optimizer.
        trainer: Knows the number of steps.
        warmup_epochs: Epochs in which the learning rate rises linearly to what the scheduler says.

    Raises:
        UserError: If one-cycle can't know where it ends, or the scheduler can't be combined with a warm-up.
    """
    configs = [] if scheduler is None else [_config(scheduler, optimizer, trainer)]
    if warmup_epochs:
        if any(isinstance(config["scheduler"], ABSOLUTE) for config in configs):
            name = type(configs[0]["scheduler"]).__name__
            raise UserError(f"warmup_epochs={warmup_epochs} has no effect on {name}, which sets every rate: use 0.")
        configs.append({"scheduler": warm_up(optimizer, trainer, warmup_epochs), "interval": "step"})
    return [optimizer], configs  # type: ignore[return-value]


def _config(scheduler: Literal["one_cycle"] | SchedulerFactory, optimizer: Optimizer, trainer: Trainer) -> Config:
    """When Lightning steps a scheduler, and what a plateau is measured by."""
    if scheduler == "one_cycle":
        return {"scheduler": one_cycle(optimizer, trainer), "interval": "step"}
    made = scheduler(optimizer)
    if not isinstance(made, ReduceLROnPlateau):
        return {"scheduler": made}
    monitor = getattr(made, "monitor", None) or "val/loss"
    return {"scheduler": made, "monitor": monitor, "frequency": trainer.check_val_every_n_epoch or 1}


def scheduler_name(scheduler: Scheduler) -> str:
    """A scheduler's name for people: `constant`, `one_cycle` or the class."""
    if scheduler is None or isinstance(scheduler, str):
        return scheduler or "constant"
    return type(scheduler(SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9))).__name__

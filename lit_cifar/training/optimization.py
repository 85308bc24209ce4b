"""The optimizer and the learning-rate scheduler of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from lightning import Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer, SparseAdam
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from lit_cifar.training.muon import MuonWithAdamW
from lit_cifar.utils.errors import UserError

OptimizerFactory = Callable[[Iterable[nn.Parameter], float], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]
Scheduler = Literal["one_cycle"] | SchedulerFactory | None


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
    return optimizer


def make_scheduler(scheduler: Scheduler, optimizer: Optimizer, trainer: Trainer) -> OptimizerLRScheduler:
    """What `configure_optimizers` returns for an optimizer and a scheduler.

    Args:
        scheduler: None, `one_cycle`, which is stepped after each batch, or a factory of torch's schedulers, which are
            stepped after each epoch. ReduceLROnPlateau monitors `val/loss`, unless it names another metric as
            Lightning's class of that name does, and is stepped after each validation.
        optimizer: The optimizer.
        trainer: Knows the number of steps.

    Raises:
        UserError: if one-cycle can't know where it ends.
    """
    if scheduler is None:
        return optimizer
    if scheduler == "one_cycle":
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": _one_cycle(optimizer, trainer), "interval": "step"},
        }
    made = scheduler(optimizer)
    if not isinstance(made, ReduceLROnPlateau):
        return [optimizer], [made]
    config: dict[str, Any] = {"scheduler": made, "monitor": getattr(made, "monitor", None) or "val/loss"}
    config["frequency"] = trainer.check_val_every_n_epoch or 1
    return {"optimizer": optimizer, "lr_scheduler": config}  # type: ignore[return-value]


def _one_cycle(optimizer: Optimizer, trainer: Trainer) -> OneCycleLR:
    total_steps = trainer.estimated_stepping_batches
    if total_steps == float("inf"):
        raise UserError("One-cycle must know where it ends: give the Trainer max_epochs or max_steps.")
    peaks = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, max_lr=peaks, total_steps=int(total_steps))

"""Lightning's training loop without the hooks nobody uses; saves 0.25 ms per batch.

It builds on private parts of Lightning. Importing this file fails where one of them has been renamed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.optimization.automatic import ClosureResult
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.speed.hooks import overrides

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""The hooks that Lightning calls in every step: those of each callback, then the module's."""

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device")
"""Hooks that the short loop doesn't call."""

LIGHTNINGS_LOOP = _TrainingEpochLoop

PARTS = (
    "_logger_connector.on_batch_start",
    "_logger_connector.on_batch_end",
    "_logger_connector.update_train_step_metrics",
    "lightning_module._current_fx_name",
    "fit_loop.epoch_loop.batch_progress.increment_by",
    "fit_loop.epoch_loop.update_lr_schedulers",
    "fit_loop.epoch_loop._num_ready_batches_reached",
    "fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step",
    "fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.zero_grad",
    "precision_plugin.train_step_context",
)
"""The private parts of a Trainer that the loop uses."""


def missing_part(trainer: Trainer) -> str | None:
    """The first of `PARTS` that a Trainer doesn't have."""
    for path in PARTS:
        try:
            attrgetter(path)(trainer)
        except AttributeError:
            return f"Trainer.{path}"
    return None


class ShortEpochLoop(_TrainingEpochLoop):
    """The same hooks in the same order, the same counters and the same step as in Lightning's own loop.

    It leaves out hooks that nobody overrides, the transfer of batches that are on their device already, profiling,
    inspecting signatures, and the wrappers around the optimizer's step. Where these matter (several devices,
    accumulated gradients, a profiler, losses scaled for 16-bit precision), and for the first batch of a continued run,
    it calls Lightning's own code.
    """

    is_short = False

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        self.is_short = _can_be_short(self.trainer)
        self._hooked = _overridden_hooks(self.trainer)

    def advance(self, data_fetcher: _DataFetcher) -> None:
        if self.restarting or not self.is_short:
            super().advance(data_fetcher)
            return
        trainer, module, progress = self.trainer, self.trainer.lightning_module, self.batch_progress
        self.val_loop.restarting = False
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        batch = trainer.precision_plugin.convert_input(batch)
        batch = trainer.datamodule.on_after_batch_transfer(batch, 0)  # type: ignore[attr-defined]
        progress.increment_ready()
        trainer._logger_connector.on_batch_start(batch)
        self._call("on_train_batch_start", batch, batch_idx)
        progress.increment_started()

        steps = self.automatic_optimization.optim_progress.optimizer.step
        steps.increment_ready()
        found: list[ClosureResult] = []
        gradients = partial(self._gradients, batch, batch_idx, found)
        module.optimizer_step(trainer.current_epoch, batch_idx, trainer.optimizers[0], gradients)
        steps.increment_completed()

        progress.increment_processed()
        self.update_lr_schedulers("step", update_plateau_schedulers=False)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        outputs = found[-1].asdict() if found[-1].loss is not None else {}
        self._call("on_train_batch_end", outputs, batch, batch_idx)
        trainer._logger_connector.on_batch_end()
        progress.increment_completed()
        trainer._logger_connector.update_train_step_metrics()

    def _gradients(self, batch: Any, batch_idx: int, found: list[ClosureResult]) -> Tensor | None:
        """The closure of the optimizer's step: computes the loss, which it also appends to `found`, and gradients."""
        trainer, module, optimizer = self.trainer, self.trainer.lightning_module, self.trainer.optimizers[0]
        module._current_fx_name = "training_step"  # `self.log` asks for it
        with trainer.precision_plugin.train_step_context():
            result = ClosureResult.from_training_step_output(module.training_step(batch, batch_idx))
        module._current_fx_name = None
        found.append(result)
        zeroed = self.automatic_optimization.optim_progress.optimizer.zero_grad
        zeroed.increment_ready()
        self._call("on_before_zero_grad", optimizer)
        zeroed.increment_started()
        module.optimizer_zero_grad(trainer.current_epoch, batch_idx, optimizer)
        zeroed.increment_completed()
        if result.closure_loss is not None:
            self._call("on_before_backward", result.closure_loss)
            module.backward(result.closure_loss)
            self._call("on_after_backward")
        self._call("on_before_optimizer_step", optimizer)
        module.configure_gradient_clipping(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
        return result.loss

    def _call(self, hook: str, *arguments: object) -> None:
        functions = self._hooked[hook]
        if functions:
            module = self.trainer.lightning_module
            module._current_fx_name = hook
            for function in functions:
                function(*arguments)
            module._current_fx_name = None


def _can_be_short(trainer: Trainer) -> bool:
    """Whether nothing is needed that only Lightning's own loop does."""
    module, data = trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined]
    return (
        type(trainer.strategy) is SingleDeviceStrategy  # subclasses need the full loop
        and isinstance(data, CIFAR10DataModule)
        and not any(overrides(data, hook, CIFAR10DataModule) for hook in TRANSFER_HOOKS)
        and not any(overrides(module, hook, LightningModule) for hook in TRANSFER_HOOKS)
        and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
        and trainer.accumulate_grad_batches == 1
        and module.automatic_optimization
        and getattr(trainer.precision_plugin, "scaler", None) is None
        and not overrides(module, "on_train_batch_start", LightningModule)  # it may end the epoch
    )


def _overridden_hooks(trainer: Trainer) -> dict[str, list[Callable[..., object]]]:
    """The functions to call for each hook: those of each callback, then the module's."""
    module: LightningModule = trainer.lightning_module
    found: dict[str, list[Callable[..., object]]] = defaultdict(list)
    for hook in HOOKS:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if overrides(callback, hook, Callback):
                found[hook].append(partial(getattr(callback, hook), trainer, module))
        if overrides(module, hook, LightningModule):
            found[hook].append(getattr(module, hook))
    return found

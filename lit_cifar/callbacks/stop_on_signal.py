from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer

from lit_cifar.callbacks.last_checkpoint import LastCheckpoint
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.signals import SIGNALS


class StoppedBySignalError(UserError):
    """A signal has ended the command."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopOnSignal(Callback):
    """On SIGINT (Ctrl-C), SIGTERM or SIGHUP, stop training after the step, save `last.ckpt` and say how to continue.

    A second signal stops at once; further ones are ignored. Lightning restores the former handlers when the Trainer
    has ended.
    """

    def __init__(self, last: LastCheckpoint) -> None:
        self.last = last
        self._received = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _handle(self._remember)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._asked(trainer) and not _more_belongs_to_step(trainer, batch_idx):
            self.last.save_now(trainer)
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._asked(trainer):
            self._stop(trainer)

    def _remember(self, signal_number: int, _: FrameType | None) -> None:
        self._received = signal_number
        _handle(_stop_at_once)

    def _asked(self, trainer: Trainer) -> bool:
        """Whether any process has received a signal: they must stop together."""
        return trainer.strategy.reduce_boolean_decision(bool(self._received), all=False)

    def _stop(self, trainer: Trainer) -> None:
        number = self._received or signal.SIGTERM
        name, path = signal.Signals(number).name, self.last.path
        if not path.is_file():
            raise StoppedBySignalError(f"Stopped by {name} before the first step; there is nothing to save.", number)
        raise StoppedBySignalError(
            f"Stopped by {name} in epoch {trainer.current_epoch + 1}; everything until here is saved. To continue: "
            f"lit-cifar fit --ckpt_path {path}",
            number,
        )


class StopAtOnceOnSignal(Callback):
    """On a signal, end `validate`, `test` and `predict`; Lightning would go on after SIGTERM."""

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _handle(_stop_at_once)

    on_test_start = on_predict_start = on_validation_start


def _more_belongs_to_step(trainer: Trainer, batch_idx: int) -> bool:
    """Whether validation or more accumulated gradients follow; then training stops after the next step."""
    every = trainer.val_check_batch
    validates = every is not None and (batch_idx + 1) % every == 0
    return validates or trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches != 0


def _stop_at_once(signal_number: int, _: FrameType | None) -> None:
    _handle(_ignore)
    raise StoppedBySignalError(f"Stopped by {signal.Signals(signal_number).name}.", signal_number)


def _ignore(signal_number: int, _: FrameType | None) -> None:
    """The command is ending already."""


def _handle(handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():  # Python handles signals in no other thread
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores SIGHUP
                signal.signal(number, handler)

"""Ctrl-C around Lightning's Trainer."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import lit_cifar
import variants
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.signals import interruptible


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _fit(data: lit_cifar.CIFAR10DataModule, model: LitClassifier) -> None:
    lit_cifar.fit(model, data, max_epochs=1, progress=False, accelerator="cpu")


def _test(data: lit_cifar.CIFAR10DataModule, model: LitClassifier) -> None:
    lit_cifar.test(model, data, accelerator="cpu")


@pytest.mark.parametrize(("call", "step"), [(_fit, "training_step"), (_fit, "validation_step"), (_test, "test_step")])
def test_ctrl_c_ends_a_python_function_and_works_again_afterwards(
    call: Callable[..., None], step: str, pictures: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = lit_cifar.CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)
    model = lit_cifar.fit(variants.ELU(depth=1, width=4), data, max_epochs=1, progress=False, accelerator="cpu").model
    monkeypatch.setattr(LitClassifier, step, _interrupted)
    with pytest.raises(KeyboardInterrupt):
        call(data, model)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@interruptible()
def _exit_ignoring_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise SystemExit(3)


def test_an_exit_stays_an_exit_and_handlers_are_restored() -> None:
    with pytest.raises(SystemExit):
        _exit_ignoring_interrupts()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

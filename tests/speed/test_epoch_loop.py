"""The shortened epoch loop does what Lightning's own loop does."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from torch.optim.lr_scheduler import StepLR

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.speed.short_epoch_loop import HOOKS
from lit_cifar.training.module import LitClassifier

OTHER_HOOKS = ("on_train_epoch_start", "on_train_epoch_end", "on_validation_start", "on_validation_end", "on_train_end")


class Recorder(Callback):
    """What a callback sees in each hook, and what it logs."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []


def recording(hook: str) -> Callable[..., None]:
    def record(self: Recorder, trainer: Trainer, pl_module: LightningModule, *arguments: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        counters = loop.batch_progress.state_dict(), loop.automatic_optimization.optim_progress.state_dict()
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        has_gradients = all(p.grad is not None for p in pl_module.parameters())
        at = hook, pl_module._current_fx_name, trainer.global_step, trainer.is_last_batch, learning_rate, has_gradients
        self.seen.append((*at, *deepcopy(counters)))
        if hook == "on_train_batch_end":
            outputs, (images, labels), batch_idx = arguments
            self.seen.append((outputs["loss"].item(), images.sum().item(), labels.sum().item(), batch_idx))
            pl_module.log("seen/labels", labels.float().mean(), on_step=True, on_epoch=True)

    return record


for hook in (*HOOKS, *OTHER_HOOKS):
    setattr(Recorder, hook, recording(hook))


def train(
    pictures: Path, model_options: dict[str, Any], trainer_options: dict[str, Any], *callbacks: Callback
) -> tuple[Trainer, LitClassifier, Recorder]:
    seed_everything(0, verbose=False)
    recorder = Recorder()
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16, flip=True)
    model = LitClassifier(variants.get("AlphaDropout")(depth=2, width=16), **model_options)
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, callbacks=[recorder, *callbacks],
        **{"max_epochs": 2, **trainer_options},
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return trainer, model, recorder


@pytest.mark.parametrize(
    ("model_options", "trainer_options"),
    [
        ({}, {}),
        ({"scheduler": "one_cycle"}, {"gradient_clip_val": 0.1}),
        ({"scheduler": lambda optimizer: StepLR(optimizer, 1)}, {"precision": "bf16-mixed"}),
        ({"l1": 1e-3, "sparsity": 0.5}, {"precision": "64-true", "limit_train_batches": 3}),
        ({}, {"val_check_interval": 0.5, "max_steps": 7, "log_every_n_steps": 2}),
    ],
)
def test_hooks_counters_and_weights_are_those_of_lightnings_own_loop(
    model_options: dict[str, Any], trainer_options: dict[str, Any], pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_trainer, short, short_recorder = train(pictures, model_options, trainer_options)
    assert short_trainer.fit_loop.epoch_loop.is_short  # type: ignore[attr-defined]
    monkeypatch.setattr("lit_cifar.training.module.shorten_epochs", lambda trainer: None)
    own_trainer, own, own_recorder = train(pictures, model_options, trainer_options)
    assert short_recorder.seen == own_recorder.seen
    assert short_trainer.fit_loop.state_dict() == own_trainer.fit_loop.state_dict()
    assert short_trainer.callback_metrics == own_trainer.callback_metrics
    torch.testing.assert_close(short.state_dict(), own.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"accumulate_grad_batches": 2}, {"profiler": "simple"}], ids=str)
def test_what_only_lightning_does_is_left_to_it(options: dict[str, Any], pictures: Path) -> None:
    trainer, _, _ = train(pictures, {}, {"max_epochs": 1, **options})
    assert not trainer.fit_loop.epoch_loop.is_short  # type: ignore[attr-defined]


def test_a_hook_that_was_given_to_an_object_is_called_and_an_inherited_one_is_not(pictures: Path) -> None:
    given = Callback()
    given.on_after_backward = MagicMock()  # type: ignore[method-assign]
    given.on_before_backward = None  # type: ignore[assignment, method-assign]
    trainer, _, _ = train(pictures, {}, {"max_epochs": 1}, given)
    assert given.on_after_backward.call_count == trainer.global_step > 0
    called = {hook: len(functions) for hook, functions in trainer.fit_loop.epoch_loop._hooked.items()}  # type: ignore[attr-defined]
    assert called == {hook: 2 if hook == "on_after_backward" else 1 for hook in HOOKS}

"""Every hook that Lightning documents sees and does the same in a compiled and in an eager training step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.speed import compiled_step
from lit_cifar.training.module import LitClassifier

NEED_A_FILE = {"on_save_checkpoint", "on_load_checkpoint", "on_exception", "state_dict", "load_state_dict"}
CALLBACK_HOOKS = [
    hook
    for hook in vars(Callback)
    if (hook.startswith("on_") or hook in ("setup", "teardown")) and not NEED_A_FILE & {hook}
    if not hook.startswith(("on_test", "on_predict"))
]
MODULE_HOOKS = [
    hook for hook in CALLBACK_HOOKS if hasattr(LightningModule, hook) and hook not in ("setup", "on_sanity_check_start")
]
MODULE_HOOKS += ["optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping", "lr_scheduler_step"]
STEPS = 8


def meddle(seen: list[Any], module: LightningModule, *, adds: bool) -> None:
    """Note weights and gradients, and change both."""
    for name, p in module.named_parameters():
        seen.append((name, p.norm().item(), None if p.grad is None else p.grad.norm().item()))
        if p.grad is not None:
            p.grad.mul_(1.5).add_(0.01)
        elif adds:
            p.grad = torch.full_like(p, 0.01)
        p.data.mul_(0.999)


def train(pictures: Path, kind: type[LitClassifier], wanted: bool | str, *callbacks: Callback) -> LitClassifier:
    seed_everything(0, verbose=False)
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)
    model = kind(variants.get("BatchNorm")(depth=2, width=8), learning_rate=1e-4, compile=wanted)  # type: ignore[arg-type]
    trainer = Trainer(
        max_steps=STEPS, accelerator="cpu", precision="64-true", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, callbacks=list(callbacks), gradient_clip_val=5.0,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return model


def both(
    pictures: Path, make: Callable[[list[Any]], tuple[type[LitClassifier], list[Callback]]]
) -> tuple[LitClassifier, LitClassifier, list[Any], list[Any]]:
    found = []
    for wanted in (False, "auto"):
        seen: list[Any] = []
        kind, callbacks = make(seen)
        found.append((train(pictures, kind, wanted, *callbacks), seen))
    (eager, eager_seen), (compiled, compiled_seen) = found
    return eager, compiled, eager_seen, compiled_seen


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`torch.compile` that returns the function as it is: what is compiled, and when, stays; gives the calls of it."""
    calls: list[int] = []

    def trace(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(1)
            return function(*arguments)

        return call

    monkeypatch.setattr(torch, "compile", trace)
    monkeypatch.setattr(compiled_step, "WORTHWHILE", 0)
    return calls


@pytest.mark.parametrize("hook", CALLBACK_HOOKS)
def test_a_callbacks_hook(hook: str, pictures: Path, traced: list[int]) -> None:
    def make(seen: list[Any]) -> tuple[type[LitClassifier], list[Callback]]:
        def called(_: Callback, trainer: Trainer, module: LightningModule, *arguments: Any, **__: Any) -> None:
            meddle(seen, module, adds="before" in hook or "batch" in hook)

        return LitClassifier, [type("Meddler", (Callback,), {hook: called})()]

    eager, compiled, eager_seen, compiled_seen = both(pictures, make)
    assert bool(traced) == (hook not in compiled_step.BEFORE_BACKWARD)
    assert len(eager_seen) == len(compiled_seen)
    for one, other in zip(eager_seen, compiled_seen, strict=True):
        assert one == (other[0], *(x if x is None else pytest.approx(x, rel=1e-9) for x in other[1:]))
    torch.testing.assert_close(compiled.state_dict(), eager.state_dict(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hook", MODULE_HOOKS)
def test_a_modules_hook(hook: str, pictures: Path, traced: list[int]) -> None:
    def make(seen: list[Any]) -> tuple[type[LitClassifier], list[Callback]]:
        def called(self: LitClassifier, *arguments: Any, **options: Any) -> Any:
            meddle(seen, self, adds=False)
            return getattr(LitClassifier, hook)(self, *arguments, **options)

        return type("Meddling", (LitClassifier,), {hook: called}), []

    eager, compiled, eager_seen, compiled_seen = both(pictures, make)
    assert [entry[0] for entry in eager_seen] == [entry[0] for entry in compiled_seen]
    assert bool(traced) == (hook not in compiled_step.BEFORE_BACKWARD)
    torch.testing.assert_close(compiled.state_dict(), eager.state_dict(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["module", "parameter"])
@pytest.mark.parametrize("when", ["on_fit_start", "on_train_epoch_start"])
def test_hooks_of_modules_and_parameters_are_called(kind: str, when: str, pictures: Path, traced: list[int]) -> None:
    def make(seen: list[Any]) -> tuple[type[LitClassifier], list[Callback]]:
        def called(_: Callback, trainer: Trainer, module: LightningModule) -> None:
            if kind == "module":
                module.network.body.register_forward_hook(lambda *_: seen.append(1))
            else:
                next(module.network.parameters()).register_hook(lambda gradient: gradient * 2)

        return LitClassifier, [type("Hooks", (Callback,), {when: called})()]

    eager, compiled, eager_seen, compiled_seen = both(pictures, make)
    assert eager_seen == compiled_seen
    assert bool(eager_seen) == (kind == "module")
    torch.testing.assert_close(compiled.state_dict(), eager.state_dict(), rtol=1e-9, atol=1e-12)


def test_accumulation_that_begins_later(pictures: Path, traced: list[int]) -> None:
    class Accumulates(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.accumulate_grad_batches = trainer.current_epoch + 1

    eager, compiled, _, _ = both(pictures, lambda _: (LitClassifier, [Accumulates()]))
    assert len(traced) == 2 + 5  # two trials, and the full batches of the first epoch
    torch.testing.assert_close(compiled.state_dict(), eager.state_dict(), rtol=1e-9, atol=1e-12)

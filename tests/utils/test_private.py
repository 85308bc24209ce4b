"""Without a private part of Lightning or torch, training gives the same, more slowly, and one warning names it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer, seed_everything

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.speed import compiled_step, short_epoch_loop
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils import private

PARTS = {
    "lightning.pytorch.loops.training_epoch_loop": "_TrainingEpochLoop",
    "lightning.pytorch.loops.fetchers": "_DataFetcher",
    "lightning.pytorch.loops.optimization.automatic": "ClosureResult",
    "torch": "_fused_adam_",
    "torch._inductor.pattern_matcher": "register_graph_pattern",
    "torch._inductor.custom_graph_pass": "CustomGraphPass",
}


def weights(pictures: Path, *, compiled: bool = False) -> torch.Tensor:
    seed_everything(0, verbose=False)
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)
    model = LitClassifier(variants.get("AlphaDropout")(depth=2, width=8), compile=compiled)
    Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, precision="64-true",
    ).fit(model, datamodule=data)  # fmt: skip
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been warned of, nothing of ours has been imported that would be imported late."""
    monkeypatch.setattr(private, "_warned", set())
    for module in ("short_epoch_loop", "inductor_passes"):
        monkeypatch.delitem(sys.modules, f"lit_cifar.speed.{module}", raising=False)

    def trace(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        return function

    monkeypatch.setattr(torch, "compile", trace)


def warned_of(pictures: Path, name: str, *, compiled: bool) -> torch.Tensor:
    """The weights of two trainings, which warn once together."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, again = weights(pictures, compiled=compiled), weights(pictures, compiled=compiled)
    messages = [str(w.message) for w in caught if "no longer exists" in str(w.message)]
    assert len(messages) == 1, messages
    assert name in messages[0]
    assert torch.equal(found, again)
    return found


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("module", PARTS)
def test_training_goes_on_without_a_private_part(module: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = "inductor" in module
    expected = weights(pictures, compiled=compiled)
    for late in ("short_epoch_loop", "inductor_passes"):
        monkeypatch.delitem(sys.modules, f"lit_cifar.speed.{late}", raising=False)
    monkeypatch.delattr(f"{module}.{PARTS[module]}")
    torch.testing.assert_close(warned_of(pictures, PARTS[module], compiled=compiled), expected, rtol=1e-9, atol=1e-12)


def test_training_goes_on_where_a_trainer_lacks_something(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = weights(pictures)
    monkeypatch.setattr(private, "_warned", set())
    monkeypatch.setattr(short_epoch_loop, "PARTS", ("fit_loop.epoch_loop.batch_progress", "_renamed.on_batch_end"))
    assert torch.equal(warned_of(pictures, "Trainer._renamed.on_batch_end", compiled=False), expected)


def test_hooks_that_torch_has_renamed_are_none() -> None:
    module = torch.nn.Linear(1, 1)
    del module._forward_hooks
    assert not any(compiled_step._module_hooks(module))


def test_a_private_object_is_found() -> None:
    assert private.private("torch.nn.modules.dropout:_DropoutNd", "nothing") is torch.nn.modules.dropout._DropoutNd

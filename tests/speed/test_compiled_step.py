"""The compiled training step: the same training as without, but for rounding."""

from __future__ import annotations

import logging
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch._dynamo.utils import counters

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.speed import compiled_step as compiling
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError
from variants import Variant

pytestmark = pytest.mark.compiles
SMALL = {"depth": 3, "width": 16}


class WasCompiled(Callback):
    """Whether the last step was."""

    found = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.found = pl_module._compiled is not None


def train(
    variant: Variant, pictures: Path, wanted: bool | str, *callbacks: Callback, steps: int = 200, **options: Any
) -> LitClassifier:
    """In double precision: rounding errors in single precision grow to whole steps behind batch normalization, which
    takes out what a bias adds, so that the bias has no other gradient."""
    seed_everything(0, verbose=False)
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)
    model = LitClassifier(variant, learning_rate=1e-4, compile=wanted)  # type: ignore[arg-type]
    trainer = Trainer(
        max_steps=steps, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, callbacks=list(callbacks),
        **{"accelerator": "cpu", "precision": "64-true", **options},
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return model


def both_ways(
    variant: Variant, pictures: Path, *callbacks: Callback, **options: Any
) -> tuple[LitClassifier, LitClassifier]:
    """Trained by autograd, and compiled."""
    compiled = WasCompiled()
    plain = train(variant, pictures, False, compiled, *callbacks, **options)
    assert not compiled.found
    fast = train(variant, pictures, True, compiled, *callbacks, **options)
    assert compiled.found
    return plain, fast


def assert_alike(model: LitClassifier, expected: LitClassifier) -> None:
    torch.testing.assert_close(model.state_dict(), expected.state_dict(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "name", ["ELU", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SwishDropout", "AlphaDropout"))]
)
def test_200_steps_of_the_compiled_training_are_those_of_the_plain_one(name: str, pictures: Path) -> None:
    plain, fast = both_ways(variants.get(name)(**SMALL), pictures)
    assert_alike(fast, plain)
    torch.testing.assert_close(fast.train_metric.totals, plain.train_metric.totals)


@pytest.mark.slow
@pytest.mark.parametrize("name", variants.available())
def test_25_steps_of_every_variant_at_its_full_depth(name: str, pictures: Path) -> None:
    """Not 200: Swish with batch normalization turns 1e-11 into 1e-3 in 100 steps, whichever way it is trained."""
    plain, fast = both_ways(variants.get(name)(), pictures, steps=25)
    assert_alike(fast, plain)


@pytest.mark.slow
def test_mixed_precision_is_the_same_but_for_rounding(pictures: Path) -> None:
    plain, fast = both_ways(variants.get("ELU")(**SMALL), pictures, steps=20, precision="bf16-mixed")
    torch.testing.assert_close(fast.state_dict(), plain.state_dict(), rtol=1e-2, atol=2e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("name", variants.available())
def test_on_a_gpu_it_is_one_cuda_graph(name: str, pictures: Path) -> None:
    counters.clear()
    plain, fast = both_ways(variants.get(name)(**SMALL), pictures, steps=25, accelerator="gpu")
    assert_alike(fast.cpu(), plain.cpu())
    assert not counters["inductor"]["cudagraph_skips"]


@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_losses_that_a_callback_keeps_stay_as_they_were(accelerator: str, pictures: Path) -> None:
    class Keep(Callback):
        def __init__(self) -> None:
            self.losses: list[Tensor] = []
            self.numbers: list[float] = []

        def on_train_batch_end(self, *arguments: Any) -> None:
            self.losses.append(arguments[2]["loss"])
            self.numbers.append(float(arguments[2]["loss"]))

    keep = Keep()
    train(variants.get("ELU")(**SMALL), pictures, True, keep, steps=15, accelerator=accelerator)
    assert len(set(keep.numbers)) == 15
    assert [float(loss) for loss in keep.losses] == keep.numbers


def test_hints_of_the_compiler_about_choices_are_not_shown(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hints = ["TensorFloat32 tensor cores for float32 … available but not enabled. …", "\nOnline softmax is disabled …"]

    def compile_with_hints(function: Any, **_: Any) -> Any:
        def compiled(*arguments: Any) -> Any:
            while hints:  # the first call compiles
                warnings.warn(hints.pop(), stacklevel=1)
            return function(*arguments)

        return compiled

    monkeypatch.setattr(torch, "compile", compile_with_hints)
    train(variants.get("ELU")(**SMALL), pictures, True, steps=1)
    assert not hints


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_steps_do_not_wait_for_the_gpu(pictures: Path) -> None:
    class ForbidWaiting(Callback):
        def on_train_batch_start(self, *arguments: Any) -> None:
            torch.cuda.set_sync_debug_mode("error" if 2 <= arguments[-1] <= 12 else "default")

    try:
        train(variants.get("ELU")(**SMALL), pictures, True, ForbidWaiting(), steps=15, accelerator="gpu")
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.slow
def test_single_precision_is_the_same_but_for_rounding(pictures: Path) -> None:
    plain, fast = both_ways(variants.get("ELU")(**SMALL), pictures, precision="32-true")
    torch.testing.assert_close(fast.state_dict(), plain.state_dict(), rtol=1e-3, atol=2e-5)


class Partly(Variant):
    """A network whose first layer does not learn."""

    learning_rate = 1e-3

    def build(self, image_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.ELU(), nn.Linear(8, num_classes))
        network[1].requires_grad_(False)
        return network


@pytest.mark.parametrize(
    "precision", ["32-true", *(pytest.param(p, marks=pytest.mark.slow) for p in ("64-true", "bf16-true", "bf16-mixed"))]
)
def test_nothing_is_compiled_once_the_training_runs(precision: str, pictures: Path) -> None:
    """Only its start may take long: epochs are timed."""

    class CountCompiled(Callback):
        counts: tuple[int, ...] = ()

        def on_train_batch_end(self, *_: object) -> None:
            self.counts += (counters["stats"]["unique_graphs"],)

    compiled = CountCompiled()
    train(variants.get("ELU")(**SMALL), pictures, True, compiled, steps=12, precision=precision)
    assert len(set(compiled.counts)) == 1


def test_frozen_weights_stay_as_they_are(pictures: Path) -> None:
    plain, fast = both_ways(Partly(), pictures, steps=20)
    assert_alike(fast, plain)
    assert fast.network.body[1].weight.grad is None


def test_weights_learn_while_they_are_thawed(pictures: Path) -> None:
    class Thaws(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            pl_module.network.body[1].requires_grad_(trainer.current_epoch == 1)

    plain, fast = both_ways(Partly(), pictures, Thaws(), steps=20)
    assert_alike(fast, plain)
    untouched = train(Partly(), pictures, False, steps=1)
    assert not torch.equal(fast.network.body[1].weight, untouched.network.body[1].weight)


def test_gradients_are_clipped(pictures: Path) -> None:
    plain, fast = both_ways(variants.get("ELU")(**SMALL), pictures, steps=20, gradient_clip_val=0.1)
    assert_alike(fast, plain)
    assert sum(p.grad.square().sum() for p in fast.network.parameters()).sqrt() <= 0.1 + 1e-6


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches"),
        ({"detect_anomaly": True}, "detect_anomaly"),
    ],
)
def test_what_autograd_must_see_to_is_said(options: dict[str, Any], reason: str, pictures: Path) -> None:
    with pytest.raises(UserError, match=reason):
        train(variants.get("ELU")(**SMALL), pictures, True, steps=1, **options)


def test_loss_scaling_is_seen_to_by_autograd(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "precision", "16-mixed")  # which a CPU doesn't have
    with pytest.raises(UserError, match=r"precision 16-mixed scales the loss"):
        train(variants.get("ELU")(**SMALL), pictures, True, steps=1)


class Unruly(Variant):
    """Looks at a value in its forward pass, which can't be compiled."""

    learning_rate = 1e-3

    def build(self, image_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        class Looks(nn.Linear):
            def forward(self, images: Tensor) -> Tensor:
                logits = super().forward(images.flatten(1))
                return logits * 2 if logits.sum().item() > 0 else logits

        return Looks(3072, num_classes)


def test_a_network_that_cannot_be_compiled_trains_all_the_same(
    pictures: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "WORTHWHILE", 3)
    compiled = WasCompiled()
    with caplog.at_level(logging.INFO, "lightning.pytorch"):
        train(Unruly(), pictures, "auto", compiled, steps=5)
    assert not compiled.found
    assert "The training step isn't compiled" in caplog.text


def test_short_trainings_are_not_compiled_by_themselves(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "WORTHWHILE", 6)
    few, many = WasCompiled(), WasCompiled()
    for steps, compiled in ((5, few), (6, many)):
        train(variants.get("ELU")(**SMALL), pictures, "auto", compiled, steps=steps)
    assert not few.found
    assert many.found


def test_a_trained_model_can_be_pickled(pictures: Path) -> None:
    model = train(variants.get("ELU")(**SMALL), pictures, True, steps=3)
    assert_alike(pickle.loads(pickle.dumps(model)), model)  # noqa: S301 - our own bytes

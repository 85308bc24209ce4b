"""The contenders: lit_cifar as its users run it, and the references, on the same images and the same network.

    python -m benchmarks.contenders NAME IMAGES BATCH_SIZE THREADS [ARGUMENT …]

trains an epoch for each line on standard input; see `Tick`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchmetrics
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import variants
from benchmarks.noise import FOREVER, VALIDATION_SHARE, RandomSource, device, random_images, wait_for
from benchmarks.pace import ROOT, Tick
from benchmarks.stacked import modelbatch, stack
from lit_cifar.commands.lightning import LitCifarCLI
from lit_cifar.data.sources import ImageSet
from lit_cifar.utils.warnings import silence_lightning

KERAS_PYTHON = ROOT / ".venv-keras/bin/python"


class Gate(Callback):
    """Makes a Trainer a contender. An epoch lasts until the next one, including validation and checkpoints."""

    def __init__(self, tick: Tick) -> None:
        self.tick = tick

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tick()


class _CLI(LitCifarCLI):
    def __init__(self, arguments: list[str], images: ImageSet, tick: Tick) -> None:
        self.images, self.tick = images, tick
        super().__init__(arguments)

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        self.datamodule.source = RandomSource(self.images)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = super().instantiate_trainer(**kwargs)
        trainer.callbacks.append(Gate(self.tick))  # type: ignore[attr-defined]
        return trainer


def ours(tick: Tick, images: ImageSet, batch_size: int, *arguments: str) -> None:
    """`lit-cifar fit` with its defaults: TensorBoard, metrics.csv, checkpoints, early stopping, progress bar."""
    options = ["fit", "--data.source", "synthetic", "--data.batch_size", str(batch_size)]
    options += ["--data.val_size", str(len(images) // VALIDATION_SHARE), "--trainer.max_epochs", str(FOREVER)]
    silence_lightning()
    _CLI([*options, *(arguments or ["--model.variant", "ELU"])], images, tick)


@torch.no_grad()
def floor(tick: Tick, images: ImageSet, batch_size: int) -> None:
    """The matrix products of forward and backward passes over the training images, and nothing else."""
    where = device()
    sizes = [3072] + [100] * 20 + [10]
    weights = [torch.randn(outputs, inputs, device=where) for inputs, outputs in pairwise(sizes)]
    steps = len(images) * (VALIDATION_SHARE - 1) // VALIDATION_SHARE // batch_size
    signals = [torch.randn(batch_size, size, device=where) for size in sizes]

    while True:
        tick()
        for _ in range(steps):
            for signal, weight in zip(signals, weights, strict=False):
                signal @ weight.T
            for position in reversed(range(len(weights))):
                signals[position + 1].T @ signals[position]
                if position:
                    signals[position + 1] @ weights[position]
        wait_for(where)


def plain_loop(tick: Tick, images: ImageSet, batch_size: int) -> None:
    """A loop written by hand: uint8 images in memory, sliced by a permutation; torch's NAdam; a validation pass."""
    where = device()
    held_out = len(images) // VALIDATION_SHARE
    pictures, labels = images.images.flatten(1).to(where), images.labels.to(where)
    mean, std = torch.full((3072,), 127.5, device=where), torch.full((3072,), 74.0, device=where)
    network = variants.get("ELU")().build((3, 32, 32), 10).to(where)
    optimizer = torch.optim.NAdam(network.parameters(), lr=2e-4)

    def loss_of(indices: Tensor) -> Tensor:
        return cross_entropy(network((pictures[indices].float() - mean) / std), labels[indices])

    while True:
        tick()
        for indices in (torch.randperm(len(images) - held_out, device=where) + held_out).split(batch_size):
            optimizer.zero_grad()
            loss_of(indices).backward()
            optimizer.step()
        with torch.no_grad():
            for indices in torch.arange(held_out, device=where).split(batch_size):
                loss_of(indices)
        wait_for(where)


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Like torchvision's CIFAR10: each image becomes a PIL image and goes through transforms."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.data = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets = labels.tolist()
        self.transform = v2.Compose(
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(np.asarray(self.data[index]))), self.targets[index]


class _Script(LightningModule):
    """As in tutorials: accuracy and two logged values in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.network: nn.Module = variants.get("ELU")().build((3, 32, 32), 10)
        self.train_accuracy = torchmetrics.Accuracy("multiclass", num_classes=10)
        self.val_accuracy = torchmetrics.Accuracy("multiclass", num_classes=10)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step("train", batch, self.train_accuracy)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step("val", batch, self.val_accuracy)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.NAdam(self.parameters(), lr=2e-4)

    def _step(self, stage: str, batch: tuple[Tensor, Tensor], accuracy: torchmetrics.Accuracy) -> Tensor:
        images, labels = batch
        logits = self.network(images)
        loss = cross_entropy(logits, labels)
        accuracy(logits, labels)
        self.log(f"{stage}_loss", loss, prog_bar=True)
        self.log(f"{stage}_accuracy", accuracy, prog_bar=True)
        return loss


def lightning_script(tick: Tick, images: ImageSet, batch_size: int) -> None:
    """A typical Lightning script: PIL transforms, DataLoader with two workers, torchmetrics, self.log every step."""
    held_out = len(images) // VALIDATION_SHARE
    options: dict[str, Any] = {"batch_size": batch_size, "num_workers": 2, "persistent_workers": True}
    train = DataLoader(_Pictures(images.images[held_out:], images.labels[held_out:]), shuffle=True, **options)
    val = DataLoader(_Pictures(images.images[:held_out], images.labels[:held_out]), **options)

    trainer = Trainer(
        max_epochs=FOREVER,
        logger=TensorBoardLogger(Path.cwd(), name="script"),
        callbacks=[ModelCheckpoint(monitor="val_loss"), Gate(tick)],
        enable_model_summary=False,
    )
    trainer.fit(_Script(), train, val)


CONTENDERS: dict[str, Callable[..., None]] = {
    "ours": ours,
    "floor": floor,
    "plain-loop": plain_loop,
    "lightning-script": lightning_script,
    "stack": stack,
    "modelbatch": modelbatch,
}


def command(name: str, images: int, batch_size: int, threads: int, *arguments: object) -> list[object]:
    """The command line of a contender; Keras has an environment of its own (`make bench-keras` installs it)."""
    program: list[object] = [sys.executable, "-m", "benchmarks.contenders", name]
    if name == "keras":
        program = [KERAS_PYTHON, ROOT / "benchmarks" / "keras_reference.py"]
    return [*program, images, batch_size, threads, *arguments]


def main() -> None:
    name, images, batch_size, threads, *arguments = sys.argv[1:]
    tick = Tick()
    torch.set_num_threads(int(threads))
    CONTENDERS[name](tick, random_images(int(images)), int(batch_size), *arguments)


if __name__ == "__main__":
    main()

"""Measures the cost of `fit`'s callbacks: training with them and without them, in turns.

    python benchmarks/callbacks.py [--variant NAME] [--epochs E] [--images N] [--repeats R] [--threads T]

Both train the same network on the same random images with the same loggers, checkpoint and early stopping; one has
`fit`'s other callbacks as well. The table has medians over the repeats: an epoch, and all that isn't an epoch (the
network is built, its graph and the pictures are drawn). The last line is the ratio for a whole training: a hundred
epochs, scaled up to 45,000 images.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

import variants
from lit_cifar.callbacks.defaults import BEST_CHECKPOINT, default_callbacks
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.sources import ImageSet
from lit_cifar.training.loggers import run_loggers
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.warnings import silence_lightning

FULL_IMAGES, FULL_EPOCHS = 45_000, 100


class _Images:
    """Random images instead of files."""

    name = "random images"
    class_names = tuple("abcdefghij")

    def __init__(self, count: int) -> None:
        self.count = count

    def prepare(self) -> None: ...

    def train(self) -> ImageSet:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (self.count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return ImageSet(images, torch.arange(self.count) % 10)


class _EpochStarts(Callback):
    """Records when each epoch starts."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.times.append(time.perf_counter())


def main() -> None:
    options = parse()
    silence_lightning()
    torch.set_num_threads(options.threads)
    print(f"{options.variant}, {options.images} images, {options.threads} threads, torch {torch.__version__}")
    pairs = [(train(options, with_ours=False), train(options, with_ours=True)) for _ in range(options.repeats)]
    plain, ours = (tuple(map(statistics.median, zip(*runs, strict=True))) for runs in zip(*pairs, strict=True))
    print(f"{'':<8}{'without s':>10}{'with s':>8}{'ratio':>8}")
    print(f"{'epoch':<8}{plain[0]:>10.3f}{ours[0]:>8.3f}{ours[0] / plain[0]:>8.3f}")
    print(f"{'rest':<8}{plain[1]:>10.3f}{ours[1]:>8.3f}")
    scale = FULL_IMAGES / options.images  # of what is trained; the callbacks' own work stays the same
    epoch = scale * plain[0]
    without = FULL_EPOCHS * epoch + plain[1]
    with_ours = FULL_EPOCHS * (epoch + ours[0] - plain[0]) + ours[1]
    print(f"{FULL_EPOCHS} epochs of {FULL_IMAGES} images: {with_ours / without:.3f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="SELU")
    for name, default in (("epochs", 4), ("images", 9000), ("repeats", 3), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def train(options: argparse.Namespace, *, with_ours: bool) -> tuple[float, float]:
    """Seconds of the median epoch, from one start to the next, and of all else in `fit`."""
    seed_everything(0, verbose=False)
    data = CIFAR10DataModule(source="synthetic", val_size=options.images // 9)
    data.source = _Images(options.images + options.images // 9)
    starts = _EpochStarts()
    ours = default_callbacks() if with_ours else []
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=options.epochs,
            logger=run_loggers(Path(folder), "run"),
            callbacks=[starts, EarlyStopping("val/loss", patience=100), ModelCheckpoint(**BEST_CHECKPOINT), *ours],
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        started = time.perf_counter()
        trainer.fit(LitClassifier(variants.get(options.variant)()), datamodule=data)
        total = time.perf_counter() - started
    epochs = [later - earlier for earlier, later in zip(starts.times, starts.times[1:], strict=False)]
    return statistics.median(epochs), total - options.epochs * statistics.median(epochs)


if __name__ == "__main__":
    main()

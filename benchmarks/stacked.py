"""Contenders that train networks side by side."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning import seed_everything
from torch import Tensor
from torch.nn.functional import cross_entropy

import variants
from benchmarks.noise import FOREVER, VALIDATION_SHARE, RandomSource, device, wait_for
from benchmarks.pace import Tick
from lit_cifar.data.sources import ImageSet
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.replica import Replica
from lit_cifar.replicas.stack import train_stack
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.warnings import silence_lightning

RATE = 1e-5
"""Learning rate; small, because noise is learnt."""


def stack(tick: Tick, images: ImageSet, batch_size: int, replicas: str, variant: str) -> None:
    """A stack as studies train it; an epoch lasts until the next epoch's end."""
    silence_lightning()
    count = int(replicas)
    val_size = len(images) // VALIDATION_SHARE
    data = StackedDataModule(seeds=range(count), source="synthetic", batch_size=batch_size, val_size=val_size)
    data.source = RandomSource(images)

    def make(replica: Replica) -> LitClassifier:
        seed_everything(replica.seed, verbose=False)
        return LitClassifier(variants.get(variant)(), learning_rate=RATE)

    def report(label: str, epoch: int, accuracy: float) -> None:
        if label == "0":
            wait_for(device())
            tick()

    members = [Replica(str(seed), seed, RATE) for seed in range(count)]
    ways = {"max_epochs": FOREVER, "patience": FOREVER, "checkpoint": Path("stack.ckpt")}
    train_stack(make, members, data, report=report, **ways)  # type: ignore[arg-type]


def modelbatch(tick: Tick, images: ImageSet, batch_size: int, replicas: str, variant: str) -> None:
    """The loop that `modelbatch`'s documentation shows, with a split and an order for each model."""
    from modelbatch import ModelBatch
    from modelbatch.optimizer import OptimizerFactory

    where, count = device(), int(replicas)
    pictures, labels = images.images.flatten(1).to(where), images.labels.to(where)
    models = ModelBatch([variants.get(variant)().build((3, 32, 32), 10) for _ in range(count)], shared_input=False)
    models.to(where)
    optimizer = OptimizerFactory(torch.optim.NAdam).create_optimizer(models, [{"lr": RATE}] * count)

    def loss_of(indices: Tensor) -> Tensor:
        scaled = (pictures[indices].float() - 127.5) / 74.0
        loss: Tensor = models.compute_loss(models(scaled), labels[indices], cross_entropy)
        return loss

    held_out = len(images) // VALIDATION_SHARE
    while True:
        tick()
        order = torch.stack([torch.randperm(len(images) - held_out, device=where) + held_out for _ in range(count)])
        for indices in order.split(batch_size, 1):
            optimizer.zero_grad()
            loss_of(indices).backward()
            optimizer.step()
        with torch.no_grad():
            for indices in torch.arange(held_out, device=where).expand(count, -1).split(batch_size, 1):
                loss_of(indices)
        wait_for(where)

"""Trains the same runs as a stack and one by one with Lightning's own callbacks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

import variants
from lit_cifar.callbacks import NonFiniteLossError, StopOnNonFiniteLoss
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.replica import Replica
from lit_cifar.replicas.stack import TrainedReplica, train_stack
from lit_cifar.training import checkpoints
from lit_cifar.training.module import LitClassifier

SMALL = {"depth": 2, "width": 8, "stages": 1, "channels": 4}
WITHOUT_DROPOUT = {"rate": 0.0, "dropout": 0.0}
ON_CPU: Mapping[str, Any] = {"accelerator": "cpu", "precision": "64-true"}


def small_variant(name: str, **options: Any) -> variants.Variant:
    """A variant with a small network; without dropout, unless said otherwise."""
    cls = variants.get(name)
    usual = {key: value for key, value in (SMALL | WITHOUT_DROPOUT).items() if key in cls.hyperparameters()}
    return cls(**{**usual, **options})


@dataclass
class Alone:
    """What a single run came to: its last and its best weights, epochs, and why it failed."""

    last: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    epochs: int
    best_epoch: int
    failure: str = ""


@dataclass
class BothWays:
    """The same runs as a stack and alone; `last` are the weights that are in the stack at the end, by place."""

    stack: Sequence[TrainedReplica]
    last: Sequence[Mapping[str, Tensor]]
    alone: Sequence[Alone]


Train = Callable[..., BothWays]


@pytest.fixture
def data_options(pictures: Path) -> dict[str, Any]:
    return {"source": "folder", "data_dir": str(pictures), "val_size": 30, "batch_size": 16}


@pytest.fixture
def both_ways(data_options: dict[str, Any], tmp_path: Path) -> Train:
    """Train replicas both ways, in double precision: `both_ways(variant, [(seed, learning_rate), …], …)`."""

    def train(
        variant: variants.Variant,
        runs: Sequence[tuple[int, float]],
        *,
        max_epochs: int = 3,
        patience: int = 100,
        trainer: Mapping[str, Any] = MappingProxyType({}),
        **model: Any,
    ) -> BothWays:
        made: list[LitClassifier] = []

        def make(replica: Replica) -> LitClassifier:
            seed_everything(replica.seed, workers=True, verbose=False)
            made.append(LitClassifier(variant, learning_rate=replica.learning_rate, compile=False, **model))
            return made[-1]

        replicas = [Replica(f"seed {seed}", seed, rate) for seed, rate in runs]
        stacked_data = StackedDataModule(seeds=[replica.seed for replica in replicas], **data_options)
        stack = train_stack(make, replicas, stacked_data, max_epochs=max_epochs, patience=patience, **ON_CPU, **trainer)
        network: Any = made[0].network
        stacked = network.each.state_dict()
        last = [{name: tensor[place] for name, tensor in stacked.items()} for place in range(network.replicas)]
        alone = [
            _alone(
                make(replica),
                CIFAR10DataModule(**data_options, seed=replica.seed),
                max_epochs,
                patience,
                tempfile.mkdtemp(dir=tmp_path),
                **trainer,
            )
            for replica in replicas
        ]
        return BothWays(stack, last, alone)

    return train


def _alone(
    model: LitClassifier, data: CIFAR10DataModule, max_epochs: int, patience: int, folder: str, **options: Any
) -> Alone:
    best = ModelCheckpoint(folder, monitor="val/loss", filename="best", save_weights_only=True)
    trainer = Trainer(
        max_epochs=max_epochs,
        callbacks=[StopOnNonFiniteLoss(), EarlyStopping("val/loss", patience=patience), best],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **ON_CPU,
        **options,
    )
    try:
        trainer.fit(model, datamodule=data)
    except NonFiniteLossError as error:
        return Alone({}, {}, trainer.current_epoch, 0, str(error))
    last = {name: value.clone() for name, value in model.built().state_dict().items()}
    saved = checkpoints.read(best.best_model_path)
    state = {name.removeprefix("network."): value for name, value in saved["state_dict"].items()}
    return Alone(last, state, trainer.current_epoch, saved["epoch"])


def furthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest difference between two networks' states."""
    assert list(one) == list(other)
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


def best_epoch(trained: TrainedReplica) -> int:
    losses = [epoch["val/loss"] for epoch in trained.training.epochs]
    return losses.index(min(losses))

"""Train replicas: one LitClassifier whose network is a stack, one Lightning Trainer, one run per replica."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn

from lit_cifar.replicas.clipping import clipping
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.network import NotStackableError, StackedNetwork
from lit_cifar.replicas.optimizer import StackedOptimizer, checked_scheduler
from lit_cifar.replicas.replica import Replica, Training
from lit_cifar.replicas.sparsity import StackedSparsity
from lit_cifar.replicas.tracker import ReplicaTracker, Report
from lit_cifar.speed.compiled_step import LossFunction
from lit_cifar.training import checkpoints
from lit_cifar.training.module import LitClassifier

SHARE_OF_SAVING = 0.05
"""The most of a training's time that saving its stack takes."""

CHECKED_IMAGES = 4


@dataclass(frozen=True)
class TrainedReplica:
    """A replica after its training.

    Args:
        replica: Which one.
        training: How it went, epoch by epoch.
        by_loss: The state of the network at the epoch with the lowest validation loss; empty if it failed before.
        by_accuracy: The same by the highest validation accuracy.
    """

    replica: Replica
    training: Training
    by_loss: Mapping[str, Tensor]
    by_accuracy: Mapping[str, Tensor]

    def epoch_of(self, which: Callable[..., dict[str, float]], metric: str) -> dict[str, float]:
        """The first epoch with the least (`min`) or greatest (`max`) value of a metric."""
        return which(self.training.epochs, key=lambda epoch: epoch[metric])


def train_stack(
    make: Callable[[Replica], LitClassifier],
    replicas: Sequence[Replica],
    data: StackedDataModule,
    *,
    max_epochs: int,
    patience: int,
    checkpoint: Path | None = None,
    report: Report = lambda *_: None,
    **trainer_options: Any,
) -> list[TrainedReplica]:
    """Train replicas side by side; each is what a single run with its seed and learning rate would be.

    Args:
        make: Gives a replica's classifier without a network, after every random generator has been seeded.
        replicas: The replicas; equal learning rates must follow one another.
        data: The data, with a seed for each replica.
        max_epochs: The most epochs a replica may take.
        patience: Epochs without a lower validation loss after which a replica stops.
        checkpoint: Where the stack is saved after epochs; if the file is there, training goes on from it.
        report: Called after each epoch of a replica.
        trainer_options: Other arguments of the Trainer.

    Raises:
        NotStackableError: if these replicas can't be trained as one stack, or not exactly as single runs.
    """
    clip, trainer_options = clipping(trainer_options)
    saved = checkpoints.read(checkpoint) if checkpoint and checkpoint.is_file() else None
    active = _active_in(saved) if saved else list(range(len(replicas)))
    data.prepare_data()
    data.setup("fit")
    data.keep(active)
    members = [replicas[index] for index in active]
    model, optimizer, sparsity = stacked_training(make, members, data, is_new=saved is None)
    tracker = ReplicaTracker(replicas, patience=patience, optimizer=optimizer, sparsity=sparsity, report=report)
    trainer = Trainer(
        max_epochs=max_epochs,
        logger=False,
        callbacks=[*clip, tracker, sparsity, *([StackCheckpoint(checkpoint)] if checkpoint else [])],
        plugins=[checkpoints.WholeFiles()],
        enable_checkpointing=checkpoint is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **trainer_options,
    )
    trainer.fit(model, datamodule=data, ckpt_path=str(checkpoint) if saved else None, weights_only=True)
    return [_trained(index, tracker) for index in range(len(replicas))]


def stacked_training(
    make: Callable[[Replica], LitClassifier], replicas: Sequence[Replica], data: StackedDataModule, *, is_new: bool
) -> tuple[LitClassifier, StackedOptimizer, StackedSparsity]:
    """What trains replicas as a stack.

    Args:
        make: As in `train_stack`.
        replicas: The replicas in the stack.
        data: Their data, after `setup`.
        is_new: Whether the training begins; otherwise weights will be loaded.

    Returns:
        The classifier of the whole stack, its optimizer factory, and the callback for L1, pruning and max-norm.

    Raises:
        NotStackableError: If these replicas can't be trained as one stack.
    """
    model, network = _stacked_classifier(make, replicas, data, is_new=is_new)
    optimizer = StackedOptimizer(model.optimizer, network, [replica.learning_rate for replica in replicas])
    sparsity = StackedSparsity(optimizer, l1=model.l1, sparsity=model.sparsity, max_norm=model.max_norm)
    model.optimizer, model.l1, model.sparsity, model.max_norm = optimizer, 0.0, 0.0, None
    if callable(model.scheduler):
        model.scheduler = checked_scheduler(model.scheduler)
    return model, optimizer, sparsity


class StackCheckpoint(Checkpoint):
    """Save a stack at the end of epochs, at most so often that saving takes a twentieth of the time.

    It must come after the callbacks whose state it saves.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._took = 0.0
        self._saved_at = 0.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        began = time.monotonic()
        if began - self._saved_at >= self._took / SHARE_OF_SAVING:
            trainer.save_checkpoint(self.path, weights_only=False)
            self._saved_at = time.monotonic()
            self._took = self._saved_at - began


def _active_in(saved: Mapping[str, Any]) -> list[int]:
    active: list[int] = saved["callbacks"]["ReplicaTracker"]["active"]
    return active


def _stacked_classifier(
    make: Callable[[Replica], LitClassifier], replicas: Sequence[Replica], data: StackedDataModule, *, is_new: bool
) -> tuple[LitClassifier, StackedNetwork]:
    """The first replica's classifier with the stack of all replicas' networks, each built as in a single run."""
    models = []
    for replica in replicas:
        model = make(replica)
        network = model.build(data.class_names, data.scale(model.variant.scaling, replica.seed))
        if is_new:
            model.variant.load_pretrained(network.get_submodule("body"))
        models.append(model)
    networks: list[nn.Module] = [model.network for model in models]  # type: ignore[misc]
    stack = StackedNetwork(networks, [replica.seed for replica in replicas])
    check_stackable(stack, networks, data, models[0].loss_function)
    models[0].network = stack  # type: ignore[assignment]
    return models[0], stack


def check_stackable(
    network: StackedNetwork, networks: Sequence[nn.Module], data: StackedDataModule, loss_function: LossFunction
) -> None:
    """Try a stack on a few images: it must give what its networks give alone, and it must have gradients.

    Raises:
        NotStackableError: if torch can't vmap the network or its loss, or if it gives other logits in a stack.
    """
    images, labels = (part[:, :CHECKED_IMAGES] for part in data.example_batch())
    trial = copy.deepcopy(network)
    try:
        with torch.random.fork_rng():
            loss_function(trial.train(), (images, labels))[0].backward()
        with torch.no_grad():
            logits = network.eval()(images)
            alone = torch.stack([one.eval()(some) for one, some in zip(networks, images, strict=True)])
    except (RuntimeError, ValueError, NotImplementedError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise NotStackableError(f"torch.vmap can't run the network or its loss: {reason}") from error
    network.train()
    if not torch.allclose(logits, alone, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise NotStackableError("the network gives other logits in a stack than alone.")


def _trained(index: int, tracker: ReplicaTracker) -> TrainedReplica:
    replica, training = tracker.replicas[index], tracker.trainings[index]
    by_loss, by_accuracy = (
        {name: tensor[index].cpu() for name, tensor in tracker.best[best].items()} for best in ("loss", "accuracy")
    )
    return TrainedReplica(replica, training, by_loss, by_accuracy)

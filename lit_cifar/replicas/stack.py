"""Train a stack: one Lightning Trainer trains one LitClassifier whose network is many replicas."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
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
"""The largest share of the time that saving a stack may take."""

CHECKED_IMAGES = 4
"""Number of images with which a stack is compared with its networks."""


@dataclass(frozen=True)
class TrainedReplica:
    """A replica after its training.

    Args:
        replica: The replica.
        training: Its training, epoch by epoch.
        by_loss: The network's state at the epoch with the lowest validation loss, on the CPU; empty if it failed
            before the end of an epoch.
        by_accuracy: The same for the highest validation accuracy.
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
    """Train replicas side by side. Each becomes what a single run with its seed and learning rate would become.

    Args:
        make: Seeds all random number generators and makes a replica's classifier, without its network.
        replicas: The replicas, sorted such that equal learning rates are neighbours.
        data: The data, with a seed for each replica.
        max_epochs: The largest number of epochs.
        patience: Epochs without a lower validation loss after which a replica stops.
        checkpoint: The file to which the stack is saved after epochs. If it exists, training is resumed from it.
        report: Called after each epoch of each replica.
        trainer_options: Other arguments of the Trainer.

    Raises:
        NotStackableError: If these replicas can't be trained as one stack with the results of single runs.
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
    saving = [StackCheckpoint(checkpoint)] if checkpoint else []
    trainer = stack_trainer(
        [*clip, tracker, sparsity, *saving],
        max_epochs=max_epochs,
        enable_checkpointing=checkpoint is not None,
        **trainer_options,
    )
    # Lightning loads weights before it converts the module, which would round those of a run in double precision.
    trainer.precision_plugin.convert_module(model)
    trainer.fit(model, datamodule=data, ckpt_path=str(checkpoint) if saved else None, weights_only=True)
    return _trained(tracker)


def stack_trainer(callbacks: list[Callback], **options: Any) -> Trainer:
    """A Trainer without output, on one device."""
    return Trainer(
        callbacks=callbacks,
        logger=False,
        plugins=[checkpoints.WholeFiles()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **{"devices": 1, **options},
    )


def stacked_training(
    make: Callable[[Replica], LitClassifier], replicas: Sequence[Replica], data: StackedDataModule, *, is_new: bool
) -> tuple[LitClassifier, StackedOptimizer, StackedSparsity]:
    """Build a stack for training.

    Args:
        make: As in `train_stack`.
        replicas: The replicas in the stack.
        data: Their data, after `setup`.
        is_new: Whether training begins. Otherwise the weights will be loaded from a checkpoint.

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
    """Save a stack at the end of the first epoch, and then as often as `SHARE_OF_SAVING` allows.

    It must be the last callback, because it saves the state of the others.

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
    """The first replica's classifier, with a stack of the networks of all replicas as its network."""
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
    """Try a stack on a few images: its logits must be those of its networks, and it must have gradients.

    Raises:
        NotStackableError: If torch can't vmap the network or its loss, or the logits differ.
    """
    images, labels = (part[:, :CHECKED_IMAGES] for part in data.example_batch())
    trial = copy.deepcopy(network)
    try:
        with torch.random.fork_rng(devices=[]):  # the stack is on the CPU
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


def _trained(tracker: ReplicaTracker) -> list[TrainedReplica]:
    """The replicas after training, each with its own copy of its best weights."""
    by_loss, by_accuracy = (  # copied to the CPU tensor by tensor, not replica by replica
        {name: tensor.cpu() for name, tensor in tracker.best[which].items()} for which in ("loss", "accuracy")
    )
    return [
        TrainedReplica(replica, training, _slice(by_loss, index), _slice(by_accuracy, index))
        for index, (replica, training) in enumerate(zip(tracker.replicas, tracker.trainings, strict=True))
    ]


def _slice(states: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    return {name: tensor[index].clone() for name, tensor in states.items()}

"""Search a learning rate: one range test suggests, short confirm runs around the suggestion decide.

If the range test suggests nothing, because the loss diverges before it falls clearly, the search starts a decade below
the divergence. The last confirm run is at the minimum of a parabola through the best one and its neighbours.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import asdict, dataclass
from io import StringIO
from statistics import fmean
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.tuner import Tuner

from lit_cifar.callbacks import NonFiniteLossError, StopOnNonFiniteLoss
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.lr_find.curve import MIN_LOSSES, LearningRateCurve, read_curve
from lit_cifar.training.checkpoints import WholeFiles
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError

MakeRun = Callable[[float | None], tuple[LitClassifier, CIFAR10DataModule]]
"""A fresh model and its data, equally seeded each time, with a learning rate or the variant's own."""

STEP = math.sqrt(10)
"""Confirm runs are this factor apart: two a decade."""

VALIDATIONS = 4
"""Validations per epoch of a confirm run. Early in training, batch normalization's running statistics lag behind the
weights, so the accuracies of neighbouring steps differ by whole points."""


@dataclass(frozen=True)
class ConfirmRun:
    """A short training at one learning rate: means of the validations in its last epoch.

    The loss is infinite if the training diverged. (The best epoch isn't used, because early in training a network that
    has learnt nothing may have the lowest loss.)
    """

    learning_rate: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True, repr=False)
class LearningRateSearch:
    """A range test, its confirm runs (the best first), and the resulting learning rate."""

    curve: LearningRateCurve
    confirm_runs: tuple[ConfirmRun, ...]

    def __repr__(self) -> str:
        runs = "".join(
            f"\n{run.learning_rate:.2g}: validation loss {run.val_loss:.4f}, accuracy {run.val_accuracy:.1%}"
            for run in self.confirm_runs
        )
        return f"learning rate {self.learning_rate:.2g}{runs}"

    @property
    def learning_rate(self) -> float:
        """The confirm run's with the lowest validation loss; without confirm runs, the curve's suggestion."""
        return self.confirm_runs[0].learning_rate if self.confirm_runs else self.curve.suggestion

    def to_json(self) -> str:
        """Everything, for `lr_find.json`."""
        runs = [{**asdict(run), "val_loss": _finite(run.val_loss)} for run in self.confirm_runs]
        content = {**self.curve.to_dict(), "confirm_runs": runs, "learning_rate": self.learning_rate}
        return json.dumps(content, indent=1)


def find_learning_rate(
    make: MakeRun,
    *,
    confirm: int = 0,
    confirm_epochs: int = 3,
    min_lr: float = 1e-6,
    max_lr: float = 1.0,
    steps: int = 300,
    on_confirmed: Callable[[ConfirmRun], None] = lambda _: None,
    show_progress: bool = False,
    **trainer_options: Any,
) -> LearningRateSearch:
    """Search a learning rate on training and validation images; nothing is left behind and no weights are kept.

    Args:
        make: Gives a fresh model and its data.
        confirm: Number of confirm runs; if the best is at the edge, runs beyond it follow, and then one where a
            parabola through the best and its neighbours is lowest. 0 trusts the range test.
        confirm_epochs: Epochs of each confirm run.
        min_lr: Where the range test starts.
        max_lr: Where it ends.
        steps: Batches it takes.
        on_confirmed: Called after each confirm run.
        show_progress: Whether the range test has a progress bar on the terminal.
        trainer_options: Arguments of the Trainer, such as accelerator.

    Raises:
        UserError: If a setting is out of range, or the loss clearly falls at no learning rate and, for confirm runs,
            doesn't diverge either.
    """
    check_search(confirm=confirm, confirm_epochs=confirm_epochs, min_lr=min_lr, max_lr=max_lr, steps=steps)
    with nullcontext() if show_progress else redirect_stderr(StringIO()):  # the Tuner's bar can't be turned off
        curve = range_test(make, min_lr=min_lr, max_lr=max_lr, steps=steps, **trainer_options)
    start = curve.start if confirm else curve.suggestion
    runs: dict[float, ConfirmRun] = {}

    def run(position: float) -> None:
        learning_rate = start * STEP**position
        runs[position] = short_run(make, learning_rate, confirm_epochs, **trainer_options)
        on_confirmed(runs[position])

    # The valley is where the loss falls best in one pass; the rates that train best lie above it rather than below.
    for position in range(-(confirm // 4), confirm - confirm // 4):
        run(position)
    while len(runs) > 1:
        best = min(runs, key=lambda position: runs[position].val_loss)
        if min(runs) < best < max(runs):
            between = best + _vertex(*(runs[best + side].val_loss for side in (-1, 0, 1)))
            if between not in runs:
                run(between)
            break
        beyond = best - 1 if best == min(runs) else best + 1
        if not min_lr <= start * STEP**beyond <= max_lr:
            break
        run(beyond)
    return LearningRateSearch(curve, tuple(sorted(runs.values(), key=lambda found: found.val_loss)))


def check_search(*, confirm: int, confirm_epochs: int, min_lr: float, max_lr: float, steps: int) -> None:
    """Check the settings of a search.

    Raises:
        UserError: If one is out of range.
    """
    if not 0 < min_lr < max_lr:
        raise UserError(f"min_lr={min_lr} must be above 0 and below max_lr={max_lr}.")
    if confirm < 0:
        raise UserError(f"confirm={confirm} is negative: use 0 to trust the range test.")
    if confirm_epochs < 1:
        raise UserError(f"confirm_epochs={confirm_epochs} is too small: it must be at least 1.")
    if steps < MIN_LOSSES:
        raise UserError(f"steps={steps} is too small: use at least {MIN_LOSSES}; 100 over 6 decades read well.")


def _vertex(below: float, lowest: float, above: float) -> float:
    """Where a parabola through losses at -1, 0 and 1 is lowest, within half a step of 0.

    If a neighbour diverged, the minimum is taken a quarter of a step towards the other side; if all are equal, at 0.
    """
    if math.isinf(below) or math.isinf(above):
        return 0.25 * (math.isinf(below) - math.isinf(above))
    bend = below - 2 * lowest + above
    return 0.5 * (below - above) / bend if bend else 0.0


def range_test(make: MakeRun, *, min_lr: float, max_lr: float, steps: int, **trainer_options: Any) -> LearningRateCurve:
    """One sweep of rising learning rates by Lightning's Tuner; our own rule reads the raw losses.

    The Tuner replaces the Trainer's callbacks. Penalties, pruning and limits of the model stay, as they hook into the
    optimizer.
    """
    model, data = make(None)
    model.scheduler, model.warmup_epochs = None, 0  # the sweep is the schedule
    losses = _StepLosses(trainer_options.get("accumulate_grad_batches", 1))
    # The Tuner replaces the Trainer's callbacks by its own, which smooths the losses; the module's hook isn't replaced.
    model.on_train_batch_end = losses.add  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(folder, max_epochs=-1, **trainer_options)
        finder = Tuner(trainer).lr_find(
            model,
            datamodule=data,
            min_lr=min_lr,
            max_lr=max_lr,
            num_training=steps,
            early_stop_threshold=None,
            update_attr=False,
        )
    learning_rates = finder.results["lr"][: len(losses.found)]  # type: ignore[union-attr]
    return read_curve(learning_rates, losses.found)


class _StepLosses:
    """The mean loss of each optimizer step's batches.

    An epoch's last step may have fewer batches; the Tuner doesn't note its learning rate, so its loss is left out.
    """

    def __init__(self, batches_per_step: int) -> None:
        self.batches_per_step = batches_per_step
        self.found: list[float] = []
        self._batches: list[float] = []

    def add(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """`on_train_batch_end`; Lightning has divided the loss by the number of batches in a step."""
        place = batch_idx % self.batches_per_step
        self._batches[place:] = [outputs["loss"].item() * self.batches_per_step]
        if place == self.batches_per_step - 1:
            self.found.append(fmean(self._batches))


def short_run(
    make: MakeRun, learning_rate: float, epochs: int, *, callbacks: Sequence[Callback] = (), **trainer_options: Any
) -> ConfirmRun:
    """Train some epochs at one learning rate, with more callbacks and options of the Trainer."""
    model, data = make(learning_rate)
    validations = _Validations()
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(
            folder,
            max_epochs=epochs,
            val_check_interval=1 / VALIDATIONS,
            callbacks=[StopOnNonFiniteLoss(), validations, *callbacks],
            **trainer_options,
        )
        try:
            trainer.fit(model, datamodule=data)
        except NonFiniteLossError:
            return ConfirmRun(learning_rate, math.inf, 0.0)
    loss, accuracy = (fmean(found[-VALIDATIONS:]) for found in (validations.losses, validations.accuracies))
    return ConfirmRun(learning_rate, loss, accuracy)


class _Validations(Callback):
    """Keeps the scores of each validation."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.losses.append(trainer.callback_metrics["val/loss"].item())
        self.accuracies.append(trainer.callback_metrics["val/accuracy"].item())


def _trainer(folder: str, **options: Any) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[WholeFiles()],  # the Tuner writes a checkpoint; a full disk must raise an OSError
        **options,
    )


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None

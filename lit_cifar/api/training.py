"""`lit_cifar.fit` and `lit_cifar.trainer`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Trainer, seed_everything
from matplotlib.figure import Figure

from lit_cifar import figures
from lit_cifar.api.arguments import as_classifier, as_data, check_epochs, check_options
from lit_cifar.api.notebook import Shown, facts_table, in_notebook, png, progress_callback
from lit_cifar.api.quiet import quiet_lightning
from lit_cifar.callbacks.defaults import default_callbacks, resume_callbacks, selection_callbacks
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training.checkpoints import WholeFiles
from lit_cifar.training.loggers import EventsFile, read_history, run_loggers
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.warnings import drop_unfounded_advice
from variants import Variant


@dataclass(frozen=True, eq=False)
class TrainingResult(Shown):
    """A finished training.

    Args:
        model: The classifier, with the weights of the epoch of the lowest validation loss.
        data: What it was trained on.
        folder: The run's folder: `metrics.csv`, TensorBoard events and `checkpoints/best.ckpt`.
    """

    model: LitClassifier
    data: CIFAR10DataModule
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """The file with the best weights."""
        return self.folder / "checkpoints" / "best.ckpt"

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: `train/loss`, `train/accuracy`, `train/seconds`, `val/loss`, `val/accuracy`, …"""
        return read_history(self.folder / "metrics.csv")

    @property
    def best_epoch(self) -> int:
        """The epoch of the lowest validation loss; the first is 1."""
        return int(self.history["val/loss"].argmin()) + 1

    @property
    def learning_curves(self) -> Figure:
        """Validation loss and accuracy by epoch and by seconds."""
        name = type(self.model.variant).__name__
        return figures.learning_curves({(name, self.data.seed): self.history}, self.data.data_source)

    def _facts(self) -> dict[str, object]:
        best = self.history.iloc[self.best_epoch - 1]
        return {
            "variant": repr(self.model.variant),
            "data": self.data.data_source,
            "best epoch": f"{self.best_epoch} of {len(self.history)}",
            "validation loss": f"{best['val/loss']:.4f}",
            "validation accuracy": f"{best['val/accuracy']:.1%}",
            "learning rate": f"{self.model.learning_rate:.2g}",
            "checkpoint": self.checkpoint,
        }

    def __repr__(self) -> str:
        return "\n".join(f"{name + ':':<21}{value}" for name, value in self._facts().items())

    def _html(self) -> str:
        return facts_table(self._facts())

    def _pictures(self) -> Mapping[str, bytes]:
        return {"learning curves": png(self.learning_curves)}


def fit(
    variant: str | Variant | LitClassifier,
    data: CIFAR10DataModule | None = None,
    *,
    max_epochs: int = 100,
    patience: int = 20,
    folder: str | Path = "logs/fit",
    progress: bool = True,
    **trainer_options: Any,
) -> TrainingResult:
    """Train one variant and keep the weights of its best epoch, as `lit-cifar fit` does.

    The data's seed decides the validation images, the initial weights, the order of the images and dropout.

    Args:
        variant: A variant or its name, or a LitClassifier for a learning rate, optimizer or scheduler of your own.
        data: The images. Default: CIFAR-10, downloaded to `data/` if it isn't there.
        max_epochs: The maximum number of epochs.
        patience: Number of epochs without a lower validation loss after which training stops.
        folder: The run gets a folder of its own in it: `<folder>/<variant>/version_N`.
        progress: Whether to show the progress.
        trainer_options: Further arguments of Lightning's Trainer, such as `accelerator="cpu"`.

    Returns:
        The trained model with its history.

    Raises:
        UserError: If the data can't be found, or an argument can't work.

    Examples:
        >>> import lit_cifar
        >>> data = lit_cifar.CIFAR10DataModule(source="synthetic", val_size=100)
        >>> trained = lit_cifar.fit("SELU", data, max_epochs=2, progress=False)
        >>> len(trained.history)
        2
        >>> trained.checkpoint.name
        'best.ckpt'
    """
    model, data = as_classifier(variant), as_data(data)
    with quiet_lightning():
        own = trainer(
            name=type(model.variant).__name__,
            folder=folder,
            max_epochs=max_epochs,
            patience=patience,
            progress=progress,
            **trainer_options,
        )
        events = own.logger
        if not isinstance(events, EventsFile):
            raise UserError(
                "fit returns the history that its own loggers write: leave out logger=… and fast_dev_run=…, or train "
                "with lit_cifar.trainer(…).fit(model, data)."
            )
        seed_everything(data.seed, verbose=False)
        own.fit(model, datamodule=data)
    return TrainingResult(model, data, Path(events.log_dir))


def trainer(
    *,
    name: str = "",
    folder: str | Path = "logs/fit",
    max_epochs: int = 100,
    patience: int = 20,
    progress: bool = True,
    **trainer_options: Any,
) -> Trainer:
    """A Lightning Trainer with lit_cifar's callbacks and loggers, for a LitClassifier and a CIFAR10DataModule.

    It stops early, keeps `best.ckpt` and `last.ckpt`, restores the best weights, and logs to TensorBoard and
    `metrics.csv`.

    Args:
        name: The run's folder is `<folder>/<name>/version_N`.
        folder: The folder of all runs.
        max_epochs: The maximum number of epochs.
        patience: Number of epochs without a lower validation loss after which training stops.
        progress: Whether to show the progress.
        trainer_options: Further arguments of Lightning's Trainer. Callbacks are added to the default ones.

    Examples:
        >>> import lit_cifar, variants
        >>> model = lit_cifar.LitClassifier(variants.get("ELU")(depth=3), learning_rate=1e-3)
        >>> data = lit_cifar.CIFAR10DataModule(source="synthetic", val_size=100)
        >>> trainer = lit_cifar.trainer(max_epochs=1, progress=False, enable_model_summary=False)
        >>> trainer.fit(model, data)
    """
    check_options(trainer_options, signature(fit).parameters)
    check_epochs(max_epochs=max_epochs, patience=patience)
    drop_unfounded_advice()
    given = trainer_options.pop("callbacks", None) or []
    callbacks = [*default_callbacks(), *selection_callbacks(patience=patience)]
    callbacks += [*([progress_callback()] if progress else []), *(given if isinstance(given, list) else [given])]
    defaults: dict[str, Any] = {
        "logger": run_loggers(Path(folder), name),
        "plugins": [WholeFiles()],
        "enable_progress_bar": progress and not in_notebook(),  # else Lightning adds a bar of its own there
        "enable_model_summary": False,
    }
    return Trainer(max_epochs=max_epochs, callbacks=[*callbacks, *resume_callbacks()], **(defaults | trainer_options))

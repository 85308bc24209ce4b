"""Executes one run of a study: a training with its test, a learning-rate search, or a timing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lit_cifar.callbacks import default_callbacks
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.lr_find.ladder import COARSE, Train
from lit_cifar.lr_find.ladder_search import LadderSearch, search_by_ladder
from lit_cifar.study.final_test import finish
from lit_cifar.study.finished import Row, keep
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.rows import row_of
from lit_cifar.study.run_parts import build_callbacks, model_builder, trainer_options
from lit_cifar.study.timing import time_run
from lit_cifar.training import checkpoints
from lit_cifar.training.loggers import read_history, run_loggers
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.files import emptied, write_text

LADDER_SEEDS = 3
"""Seeds of the short runs of a learning-rate search."""

Report = Callable[[str, int, float], None]
"""Called after each epoch with the run's label, the number of epochs so far and the validation accuracy."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread inside the block: the number of threads changes the last bits of a matrix product."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def execute(run: PlannedRun, study_folder: Path, report: Report) -> Row:
    """Execute a run and write its row to its folder. If it fails, the row says why.

    Raises:
        OSError: If the disk is full or read-only, so that all other runs would fail as well.
    """
    folder = emptied(study_folder / run.folder)
    started = time.perf_counter()
    work = {"search": _search_learning_rate, "timing": _time_alone}.get(run.kind, _train_and_test)
    row = row_of(run, folder, lambda: work(run, folder, report))
    row["seconds"] = round(time.perf_counter() - started, 3)
    keep(row, run, folder)
    return row


def model_and_data(
    run: PlannedRun, build: Callable[[], LitClassifier] | None = None
) -> tuple[LitClassifier, CIFAR10DataModule]:
    """A new model and its data, made after all random number generators have been seeded.

    Args:
        run: The run.
        build: Builds its model. Default: `builder_of(run)`.
    """
    seed_everything(run.seed, workers=True, verbose=False)
    sizes = {name: getattr(run.protocol, name) for name in ("batch_size", "val_size", "train_size")}
    data = CIFAR10DataModule(**run.data, **sizes, seed=run.seed)
    return (build or builder_of(run))(), data


def builder_of(run: PlannedRun) -> Callable[[], LitClassifier]:
    """Builds models of a run, and of all runs that differ from it in the seed only."""
    rate = run.protocol.learning_rate
    return model_builder({"learning_rate": rate if isinstance(rate, float) else None, **run.model})


def search_learning_rate(
    run: PlannedRun, report: Report, *, train: Train | None = None, first: Iterable[int] = COARSE
) -> LadderSearch:
    """Search the learning rate of a run, as `search_by_ladder` does with the same `train` and `first`."""

    def make(seed: int, learning_rate: float | None) -> tuple[LitClassifier, CIFAR10DataModule]:
        model, data = model_and_data(replace(run, seed=seed))
        model.learning_rate = learning_rate or model.learning_rate
        return model, data

    done = count(1)
    return search_by_ladder(
        make,
        seeds=range(run.seed, run.seed + LADDER_SEEDS),
        on_run=lambda short: report(run.label, next(done), short.val_accuracy),
        make_callbacks=partial(build_callbacks, run.callbacks),
        train=train,
        first=first,
        **trainer_options(run.trainer),
    )


def write_search(found: LadderSearch, folder: Path) -> Row:
    """Write `lr_find.json`. Returns the search's columns of a row."""
    write_text(folder / "lr_find.json", found.to_json())
    return {"lr": found.search.learning_rate}


def _search_learning_rate(run: PlannedRun, folder: Path, report: Report) -> Row:
    return write_search(search_learning_rate(run, report), folder)


def _time_alone(run: PlannedRun, folder: Path, report: Report) -> Row:
    return time_run(run, folder, *model_and_data(run))


def _train_and_test(run: PlannedRun, folder: Path, report: Report) -> Row:
    protocol = run.protocol
    model, data = model_and_data(run)
    # Callbacks such as weight averaging put their weights into whole checkpoints only.
    whole = bool(run.callbacks)
    by_loss = _keep_best("best", "val/loss", "min", whole=whole)
    by_accuracy = _keep_best("best_accuracy", "val/accuracy", "max", whole=whole)
    trainer = Trainer(
        max_epochs=protocol.max_epochs,
        logger=run_loggers(folder, name="", version=""),
        callbacks=[
            *default_callbacks(figures=False),
            EarlyStopping("val/loss", patience=protocol.patience),
            _EpochReport(run.label, report),
            *build_callbacks(run.callbacks),
            by_loss,
            by_accuracy,
        ],
        plugins=[checkpoints.WholeFiles()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10_000,
        **trainer_options(run.trainer),
    )
    started = time.perf_counter()
    trainer.fit(model, datamodule=data)
    train_seconds = time.perf_counter() - started
    epochs = read_history(folder / "metrics.csv")
    return {
        **finish(run, folder, model, data, by_loss.best_model_path, by_accuracy.best_model_path),
        "seconds_per_epoch": round(float(epochs["train/seconds"].median()), 4),
        "train_seconds": round(train_seconds, 3),
    }


def _keep_best(filename: str, monitor: str, mode: str, *, whole: bool) -> ModelCheckpoint:
    return ModelCheckpoint(
        filename=filename, monitor=monitor, mode=mode, save_weights_only=not whole, enable_version_counter=False
    )


class _EpochReport(Callback):
    def __init__(self, label: str, report: Report) -> None:
        self.label = label
        self.report = report

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.report(self.label, trainer.current_epoch + 1, float(trainer.callback_metrics["val/accuracy"]))

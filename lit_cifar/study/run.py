"""One run of a study: train, pick the best epoch on validation images, then measure on the test images."""

from __future__ import annotations

import errno
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pandas as pd
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor, nn

from lit_cifar.callbacks import default_callbacks
from lit_cifar.data.corruptions import SEVERITIES
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.evaluation import TEST_SCORES, Evaluation, certain_examples, evaluate_network, predict, predict_by_mc
from lit_cifar.lr_find.ladder_search import search_by_ladder
from lit_cifar.study.artifacts import EXAMPLES_SEED, write_evaluation, write_examples
from lit_cifar.study.clock import OutOfTime
from lit_cifar.study.finished import Row, keep
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.run_parts import build_callbacks, build_model, trainer_options
from lit_cifar.study.timing import time_run
from lit_cifar.training import checkpoints
from lit_cifar.training.loggers import read_history, run_loggers
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.sparsity import prunable
from lit_cifar.training.tensorboard import add_to_row
from lit_cifar.uncertainty import dropout_layers, evaluate
from lit_cifar.utils.files import write_text
from lit_cifar.utils.signals import interruptible

SHORT = {"accuracy": "acc"}
"""What scores are called in a row, if not by their name."""

NO_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""The system's errors that would stop every other run as well: a full disk, a quota, a read-only disk."""

CPU = torch.device("cpu")

LADDER_SEEDS = 3
"""Seeds of the short runs of a learning-rate search."""

Report = Callable[[str, int, float], None]
"""Told of each finished epoch: the run's label, the number of epochs and the validation accuracy."""


@contextmanager
def one_thread() -> Iterator[None]:
    """How many threads share a matrix product changes its last bits: a run has one, however many run at a time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def execute(run: PlannedRun, study_folder: Path, report: Report) -> Row:
    """Do one run and keep its row in the run's folder; a run that fails is a row that says why.

    Raises:
        OSError: if the disk is full or read-only, which every other run would meet as well.
    """
    folder = study_folder / run.folder
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted try has left
    folder.mkdir(parents=True)
    started = time.perf_counter()
    work = {"search": _search_learning_rate, "timing": _time_alone}.get(run.kind, _train_and_test)
    row = row_of(run, folder, lambda: work(run, folder, report))
    row["seconds"] = round(time.perf_counter() - started, 3)
    keep(row, run, folder)
    return row


def row_of(run: PlannedRun, folder: Path, work: Callable[[], Row]) -> Row:
    """The row of a run whose figures `work` returns; if it fails, a row that says why, with a traceback in the folder.

    Raises:
        OSError: if the disk is full or read-only.
    """
    try:
        with interruptible():
            return {**described(run), **work(), "status": "ok", "reason": ""}
    except (KeyboardInterrupt, OutOfTime):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in NO_DISK:
            raise OSError(error.errno, f"{run.label}: {error.strerror}", error.filename) from error
        write_text(folder / "traceback.txt", _printable(traceback.format_exc()))
        return failed(run, _reason(error))


def give_up(run: PlannedRun, study_folder: Path, reason: str) -> Row:
    """Keep the row of a run that can't say itself why it failed, because its process died."""
    row = failed(run, reason)
    keep(row, run, study_folder / run.folder)
    return row


def failed(run: PlannedRun, reason: str) -> Row:
    """The row of a run that failed."""
    return {**described(run), "status": "failed", "reason": reason}


def _reason(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception of a variant's own that can't even say what it is
        text = "(its message can't be printed)"
    return _printable(f"{type(error).__name__}: {text}")


def _printable(text: str) -> str:
    """A text that any file can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")


def described(run: PlannedRun) -> Row:
    """The part of a row that says which run it is."""
    variant = run.model["variant"]
    variant_name = variant if isinstance(variant, str) else variant["class_path"]
    return {
        "run": run.name,
        "variant": variant_name.rpartition(".")[2],
        "seed": run.seed,
        "lr": run.protocol.learning_rate,
        "batch_size": run.protocol.batch_size,
    }


def model_and_data(run: PlannedRun) -> tuple[LitClassifier, CIFAR10DataModule]:
    """Both, freshly made, after every random generator has been seeded."""
    protocol = run.protocol
    seed_everything(run.seed, workers=True, verbose=False)
    sizes = {name: getattr(protocol, name) for name in ("batch_size", "val_size", "train_size")}
    data = CIFAR10DataModule(**run.data, **sizes, seed=run.seed)
    learning_rate = protocol.learning_rate if isinstance(protocol.learning_rate, float) else None
    return build_model({"learning_rate": learning_rate, **run.model}), data


def _search_learning_rate(run: PlannedRun, folder: Path, report: Report) -> Row:
    def make(seed: int, learning_rate: float | None) -> tuple[LitClassifier, CIFAR10DataModule]:
        model, data = model_and_data(replace(run, seed=seed))
        model.learning_rate = learning_rate or model.learning_rate
        return model, data

    done = count(1)
    found = search_by_ladder(
        make,
        seeds=range(run.seed, run.seed + LADDER_SEEDS),
        on_run=lambda short: report(run.label, next(done), short.val_accuracy),
    )
    write_text(folder / "lr_find.json", found.to_json())
    return {"lr": found.search.learning_rate}


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


def finish(
    run: PlannedRun,
    folder: Path,
    model: LitClassifier,
    data: CIFAR10DataModule,
    best: str | Path,
    best_by_accuracy: str | Path,
    device: torch.device = CPU,
) -> Row:
    """Test a trained run; the part of its row that doesn't depend on how it was trained.

    Args:
        run: Which run.
        folder: The run's folder, with `metrics.csv`.
        model: Its classifier with a network of any weights.
        data: The data.
        best: The checkpoint of the epoch with the lowest validation loss.
        best_by_accuracy: That of the epoch with the highest validation accuracy.
        device: Where to run the network.
    """
    epochs = read_history(folder / "metrics.csv")
    at_best = epochs.iloc[int(epochs["val/loss"].argmin())]
    tested = _test(run, folder, model, data, best, best_by_accuracy, device)
    add_to_row(folder, {f"test/{name}": tested[f"test_{SHORT.get(name, name)}"] for name in TEST_SCORES})
    return {
        "lr": model.learning_rate,
        "epochs": len(epochs),
        "best_epoch": int(at_best["epoch"]) + 1,
        "val_loss": float(at_best["val/loss"]),
        "val_acc": float(at_best["val/accuracy"]),
        "dead_units": _mean_of_hidden_layers(at_best, "layer_dead/"),
        "twin_units": _mean_of_hidden_layers(at_best, "layer_twins/"),
        **tested,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "classes": len(model.class_names),
    }


def _mean_of_hidden_layers(epoch: pd.Series, statistic: str) -> float:
    """The mean over all layers but the last, which gives the logits; nan if there is only that."""
    return float(epoch[epoch.index.str.startswith(statistic)].iloc[:-1].mean())


def _test(
    run: PlannedRun,
    folder: Path,
    model: LitClassifier,
    data: CIFAR10DataModule,
    best: str | Path,
    best_by_accuracy: str | Path,
    device: torch.device,
) -> Row:
    """The only step that sees the test images: nothing is chosen after it."""
    data.setup("test")
    images, labels = data.test_images.images.to(device), data.test_images.labels
    selected = predict(_with_weights(model, best_by_accuracy, device), images)
    row = _columns("selected_by_acc_test", evaluate(selected["probabilities"].cpu(), labels))
    network = _with_weights(model, best, device)
    row["zeros"] = _share_of_zeros(network)
    samples = run.protocol.mc_samples if dropout_layers(network) else 0
    started = time.perf_counter()
    found = {"labels": labels, **_on_cpu(predict(network, images))}
    row["test_seconds"] = round(time.perf_counter() - started, 4)
    if samples:
        started = time.perf_counter()
        found |= _on_cpu(predict_by_mc(network, images, samples=samples, seed=run.seed))
        row["mc_test_seconds"] = round(time.perf_counter() - started, 4)
    severities = SEVERITIES if run.protocol.shift else ()
    images = images.cpu()
    results = evaluate_network(network, found, images=images, mc_samples=samples, seed=run.seed, severities=severities)
    write_evaluation({"data_source": data.data_source, **results}, folder)
    row |= _test_columns(results)
    if samples and run.seed == EXAMPLES_SEED:
        write_examples(certain_examples(found["mc_probabilities"], labels, images, model.class_names), folder)
    return row


def _test_columns(results: Evaluation) -> Row:
    """The scores of a test as columns of a row."""
    prefix = {"deterministic": "test", "mc": "mc_test"}
    row: Row = {}
    for way, scores in results["scores"].items():
        row |= _columns(prefix[way], scores)
    for severity, ways in results.get("shift", {}).items():
        for way, scores in ways.items():
            row |= _columns(f"{prefix[way]}_severity_{severity}", scores)
    return row


def _columns(prefix: str, scores: Mapping[str, float]) -> Row:
    return {f"{prefix}_{SHORT.get(name, name)}": value for name, value in scores.items()}


def _on_cpu(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: values.cpu() for name, values in found.items()}


def _with_weights(model: LitClassifier, path: str | Path, device: torch.device) -> nn.Module:
    model.load_state_dict(checkpoints.read(path)["state_dict"])
    model.eval().to(device)
    network: nn.Module = model.network  # type: ignore[assignment]
    return network


def _share_of_zeros(network: nn.Module) -> float:
    """The share of weights that are exactly zero."""
    weights = torch.cat([weight.detach().flatten() for weight in prunable(network)])
    return float((weights == 0).float().mean())


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

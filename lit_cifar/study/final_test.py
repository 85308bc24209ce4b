"""Tests a trained run: the last step, and the only one that reads the test images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from lit_cifar.data.corruptions import SEVERITIES
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.evaluation import (
    TEST_SCORES,
    Evaluation,
    certain_examples,
    evaluate_network,
    evaluate_predictions,
    predict,
    predict_by_mc,
)
from lit_cifar.study.artifacts import EXAMPLES_SEED, write_evaluation, write_examples
from lit_cifar.study.finished import Row
from lit_cifar.study.plan import PlannedRun
from lit_cifar.training import checkpoints
from lit_cifar.training.loggers import read_history
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.sparsity import prunable
from lit_cifar.training.tensorboard import add_to_row
from lit_cifar.uncertainty import can_be_sampled, evaluate

SHORT = {"accuracy": "acc"}
"""Scores whose column has a shorter name."""

OF_EVERY_RUN = {
    *(f"train/{name}" for name in ("loss", "accuracy", "seconds", "images_per_second", "learning_rate")),
    *("val/loss", "val/accuracy", "stack/seconds"),
}
"""What every run, alone or in a stack, logs beside statistics of layers."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Predicted:
    """What a run's networks predict for the test images, on the CPU.

    Args:
        selected_by_acc: What `predict` returns for the epoch with the highest validation accuracy.
        best: For the epoch with the lowest validation loss; with MC samples, what `predict_by_mc` returns as well.
        shift: The scores on corrupted images by severity, as `evaluate_network` has them, if they are wanted.
    """

    selected_by_acc: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    shift: Mapping[str, Any] = field(default_factory=dict)


def finish(
    run: PlannedRun,
    folder: Path,
    model: LitClassifier,
    data: CIFAR10DataModule,
    best: str | Path,
    best_by_accuracy: str | Path,
    device: torch.device = CPU,
    predicted: Predicted | None = None,
) -> Row:
    """Test a trained run. Returns the columns of its row that don't depend on the engine.

    Args:
        run: The run.
        folder: Its folder, with `metrics.csv`.
        model: Its classifier; the weights are replaced.
        data: Its data.
        best: Checkpoint of the epoch with the lowest validation loss.
        best_by_accuracy: Checkpoint of the epoch with the highest validation accuracy.
        device: Device to run the network on.
        predicted: What the two checkpoints' networks predict for the test images, if it is known already.
    """
    epochs = read_history(folder / "metrics.csv")
    at_best = epochs.iloc[int(epochs["val/loss"].argmin())]
    tested = _test(run, folder, model, data, best, best_by_accuracy, device, predicted)
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
        **_logged_by_others(at_best),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "classes": len(model.class_names),
    }


def _logged_by_others(epoch: pd.Series) -> Row:
    """What callbacks and terms of the loss have logged in an epoch, without what every run logs."""
    names = [str(name) for name in epoch.index if "/" in str(name) and not str(name).startswith("layer_")]
    return {name: float(epoch[name]) for name in names if name not in OF_EVERY_RUN}


def _mean_of_hidden_layers(epoch: pd.Series, statistic: str) -> float:
    """The mean over the hidden layers, which are all but the last; nan if there are none."""
    return float(epoch[epoch.index.str.startswith(statistic)].iloc[:-1].mean())


def _test(
    run: PlannedRun,
    folder: Path,
    model: LitClassifier,
    data: CIFAR10DataModule,
    best: str | Path,
    best_by_accuracy: str | Path,
    device: torch.device,
    predicted: Predicted | None,
) -> Row:
    """Measure on the test images. Nothing is chosen afterwards."""
    data.setup("test")
    images, labels = data.test_images.images.to(device), data.test_images.labels
    if predicted is None:
        selected: Mapping[str, Tensor] = _on_cpu(predict(_with_weights(model, best_by_accuracy, device), images))
    else:
        selected = predicted.selected_by_acc
    row = _columns("selected_by_acc_test", evaluate(selected["probabilities"], labels))
    network = _with_weights(model, best, device)
    row["zeros"] = _share_of_zeros(network)
    samples = mc_samples(run, network, images)
    best_predicts: Mapping[str, Tensor]
    if predicted is None:
        best_predicts, seconds = _predict(network, images, samples, run.seed)
        row |= seconds
    else:
        best_predicts = predicted.best
    found = {"labels": labels, **best_predicts}
    images = images.cpu()
    if predicted is None:
        severities = SEVERITIES if run.protocol.shift else ()
        results = evaluate_network(
            network, found, images=images, mc_samples=samples, seed=run.seed, severities=severities
        )
    else:
        results = evaluate_predictions(found, samples) | ({"shift": predicted.shift} if predicted.shift else {})
    write_evaluation({"data_source": data.data_source, **results}, folder)
    row |= _test_columns(results)
    if samples and run.seed == EXAMPLES_SEED:
        write_examples(certain_examples(found["mc_probabilities"], labels, images, model.class_names), folder)
    return row


def mc_samples(run: PlannedRun, network: nn.Module, images: Tensor) -> int:
    """How many MC samples a test of the run takes: none for a network that drops nothing."""
    return run.protocol.mc_samples if can_be_sampled(network, images) else 0


def _predict(network: nn.Module, images: Tensor, samples: int, seed: int) -> tuple[dict[str, Tensor], Row]:
    """What a network predicts, and the seconds that it takes."""
    started = time.perf_counter()
    found = _on_cpu(predict(network, images))
    seconds = {"test_seconds": round(time.perf_counter() - started, 4)}
    if samples:
        started = time.perf_counter()
        found |= _on_cpu(predict_by_mc(network, images, samples=samples, seed=seed))
        seconds["mc_test_seconds"] = round(time.perf_counter() - started, 4)
    return found, seconds


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
    """The share of weights that are zero."""
    weights = torch.cat([weight.detach().flatten() for weight in prunable(network)])
    return float((weights == 0).float().mean())

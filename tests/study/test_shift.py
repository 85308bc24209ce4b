"""A run that is tested on corrupted images, too."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from lit_cifar.data.corruptions import CORRUPTIONS, corrupt
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.run import execute
from lit_cifar.study.schema import Protocol
from lit_cifar.training.module import LitClassifier
from lit_cifar.uncertainty import evaluate
from lit_cifar.utils.warnings import drop_unfounded_advice


def planned(pictures: Path, *, shift: bool) -> PlannedRun:
    variant = {"class_path": "AlphaDropout", "init_args": {"depth": 2, "width": 8}}
    data = {"source": "folder", "data_dir": str(pictures)}
    protocol = Protocol(batch_size=40, val_size=30, max_epochs=1, mc_samples=3, shift=shift)
    return PlannedRun(name="tiny", seed=1, model={"variant": variant}, data=data, protocol=protocol)


def test_scores_of_a_severity_are_means_over_the_corruptions(pictures: Path, tmp_path: Path) -> None:
    drop_unfounded_advice()
    run = planned(pictures, shift=True)
    row = execute(run, tmp_path, lambda *_: None)
    assert row["status"] == "ok", row["reason"]
    assert {column for column in MEASURES if "severity" in column} <= set(row)
    best = tmp_path / run.folder / "checkpoints/best.ckpt"
    network = LitClassifier.load_from_checkpoint(best).network.eval()
    data = CIFAR10DataModule(**run.data)
    data.setup("test")
    images, labels = data.test_images.images, data.test_images.labels
    with torch.no_grad():
        scores = [
            evaluate(network(corrupt(images, corruption, 4, seed=1)).softmax(1), labels) for corruption in CORRUPTIONS
        ]
    for name, column in (("accuracy", "acc"), ("nll", "nll"), ("ece", "ece")):
        expected = pd.DataFrame(scores)[name].mean()
        assert row[f"test_severity_4_{column}"] == pytest.approx(expected, abs=1e-5)


def test_a_plan_without_shift_is_what_it_was_before_there_was_any(pictures: Path) -> None:
    run = planned(Path("pictures"), shift=False)
    assert run.fingerprint != planned(Path("pictures"), shift=True).fingerprint
    assert run.fingerprint == "a592f36f78fd906e"

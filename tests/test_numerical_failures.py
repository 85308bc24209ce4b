"""Data and numbers at the edge: what works is measured, what can't work is explained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.usefixtures("no_figures")
Run = Callable[..., tuple[int, str, str]]
SMALL = ("--model.variant.depth", 2, "--model.variant.width", 8)
QUIET = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_epochs", 1)


def make(folder: Path, counts: dict[str, int], value: int | None = None) -> None:
    """A folder data set with so many training images of each class, and one test image; random, or of one value."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, count in counts.items():
            (folder / split / name).mkdir(parents=True)
            for index in range(count if split == "train" else 1):
                pixels = rng.integers(0, 256, (32, 32, 3)) if value is None else np.full((32, 32, 3), value)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{index}.png")


@pytest.fixture
def fit(lit_cifar: Run, workspace: Path) -> Callable[..., tuple[int, str]]:
    """Train a small network on `data`; gives the exit code and the errors."""

    def run(variant: str, *options: object) -> tuple[int, str]:
        data = ("--data.source", "folder", "--data.data_dir", "data")
        code, _, err = lit_cifar("fit", "--model.variant", variant, *SMALL, *data, *QUIET, *options)
        return code, err

    return run


def logged(variant: str) -> pd.DataFrame:
    return pd.read_csv(f"logs/fit/{variant}/version_0/metrics.csv")


def test_images_that_are_all_the_same(fit: Callable[..., tuple[int, str]]) -> None:
    make(Path("data"), {"a": 8, "b": 8}, value=7)
    code, err = fit("ELU", "--data.val_size", 4, "--data.batch_size", 4)
    assert code == 0, err
    assert logged("ELU")["val/loss"].max() == pytest.approx(np.log(2), abs=0.3), "nothing can be learned, nothing fails"


def test_a_batch_larger_than_the_set(fit: Callable[..., tuple[int, str]]) -> None:
    make(Path("data"), {"a": 8, "b": 8})
    code, err = fit("BatchNorm", "--data.val_size", 4, "--data.batch_size", 1000)
    assert code == 0, err
    assert logged("BatchNorm")["step"].max() == 0


def test_batch_norm_and_a_last_batch_of_one(fit: Callable[..., tuple[int, str]]) -> None:
    make(Path("data"), {"a": 8, "b": 9})
    code, err = fit("BatchNorm", "--data.val_size", 4, "--data.batch_size", 4)
    assert code == 0, err
    assert logged("BatchNorm")["step"].max() == 2, "13 images: the last one joins the batch before it"


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ({"a": 1, "b": 1}, ("--data.val_size", 1), "--data.val_size 1 is too large"),
        ({"a": 8, "b": 0}, ("--data.val_size", 2), "No pictures in train/b"),
        ({"a": 8, "b": 8}, ("--data.val_size", 4, "--data.batch_size", 1), "--data.batch_size 1 is too small"),
    ],
)
def test_what_can_not_work_is_explained(
    counts: dict[str, int], options: tuple[object, ...], message: str, fit: Callable[..., tuple[int, str]]
) -> None:
    make(Path("data"), counts)
    code, err = fit("BatchNorm", *options)
    assert code == 1
    assert message in err
    assert err.count("lit-cifar: error:") == 1
    assert not any(Path("logs").rglob("*.ckpt"))


@pytest.mark.parametrize("learning_rate", [1e6, 1e30])
def test_gradients_that_explode_stop_the_run(learning_rate: float, fit: Callable[..., tuple[int, str]]) -> None:
    make(Path("data"), {"a": 8, "b": 8})
    sgd = ("--model.optimizer", "SGD", "--model.learning_rate", learning_rate, "--trainer.max_epochs", 20)
    code, err = fit("ELU", *sgd, "--data.val_size", 4, "--data.batch_size", 4)
    assert code == 1
    assert "training has diverged. A smaller learning rate usually helps" in err
    for path in Path("logs").rglob("*.ckpt"):
        weights = torch.load(path, weights_only=True)["state_dict"]
        assert all(weight.isfinite().all() for weight in weights.values())


def test_a_single_picture_is_predicted(
    fit: Callable[..., tuple[int, str]], lit_cifar: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(Path("data"), {"=cmd()": 8, "<script>": 8})
    assert fit("BatchNorm", "--data.val_size", 4, "--data.batch_size", 4)[0] == 0
    shutil.copy("data/train/<script>/0.png", "=one.png")
    best = Path("logs/fit/BatchNorm/version_0/checkpoints/best.ckpt")
    options: tuple[Any, ...] = ("--data.pictures", "=one.png", "--predictions.output", "out.csv")
    code, _, err = lit_cifar("predict", "--ckpt_path", best, *options)
    assert code == 0, err
    table = pd.read_csv("out.csv")
    assert len(table) == 1
    assert table["path"][0] == "'=one.png"
    assert table["prediction"][0] in ("'=cmd()", "<script>")

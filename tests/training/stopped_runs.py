"""Runs that are stopped at a chosen step, and the comparison of two runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from lit_cifar.callbacks import StopOnNonFiniteLoss

Run = Callable[..., tuple[int, str, str]]
STEPS_PER_EPOCH = 6  # of the 90 images that are left for training, in batches of 16
RUN = Path("logs/fit/AlphaDropout/version_0")
LAST = RUN / "checkpoints/last.ckpt"


class Happens(Callback):
    """Does something after a number of batches."""

    def __init__(self, action: Callable[[], object], batch: int) -> None:
        self.action = action
        self.batch = batch

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.batch:
            self.action()


class KilledError(RuntimeError):
    """Stands for SIGKILL, after which nothing of ours runs."""


def kill() -> None:
    raise KilledError


def happening(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object], batch: int) -> None:
    """Let something happen once, after a batch."""
    waiting = Happens(action, batch)
    monkeypatch.setattr(StopOnNonFiniteLoss, "on_train_batch_end", lambda _, *args: waiting.on_train_batch_end(*args))


def assert_equal_runs(one: Path, other: Path) -> None:
    """Weights, optimizer, early stopping, best checkpoint, random numbers and metrics, bit for bit."""
    for name in ("last", "best"):
        contents = [torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True) for run in (one, other)]
        for content in contents:
            callbacks = content.pop("callbacks")
            content["early_stopping"] = [v for k, v in callbacks.items() if k.startswith("EarlyStopping")]
            content["best"] = [v["best_model_score"] for v in callbacks.values() if "best_model_score" in v]
        assert plain(contents[0]) == plain(contents[1])
    tables = [
        pd.read_csv(run / "metrics.csv").drop(columns=["train/seconds", "train/images_per_second"])
        for run in (one, other)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def plain(content: Any) -> Any:
    """Tensors as lists, so that `==` compares what is in them."""
    if isinstance(content, torch.Tensor):
        return content.tolist()
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    return [plain(item) for item in content] if isinstance(content, (list, tuple)) else content

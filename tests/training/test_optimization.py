"""Optimizers and schedulers on the command line: each trains, or says in one line why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.usefixtures("no_figures")
Run = Callable[..., tuple[int, str, str]]
SMALL = ("--model.variant", "ELU", "--model.variant.depth", 1, "--model.variant.width", 8, "--trainer.max_epochs", 5)


@pytest.mark.parametrize(
    ("spelling", "monitor"),
    [
        (["--model.scheduler", "ReduceLROnPlateau"], None),
        pytest.param(["--model.scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau"], None, marks=pytest.mark.slow),
        pytest.param(
            ["--model.scheduler", "lightning.pytorch.cli.ReduceLROnPlateau"], "val/accuracy", marks=pytest.mark.slow
        ),
    ],
)
def test_the_learning_rate_falls_on_a_plateau(
    spelling: list[str], monitor: str | None, lit_cifar: Run, on_pictures: list[object], workspace: Path
) -> None:
    monitored = ["--model.scheduler.monitor", monitor] if monitor else []
    never_better = ["--model.scheduler.threshold", 10, "--model.scheduler.patience", 0, "--model.scheduler.factor", 0.1]
    never_better += ["--model.scheduler.mode", "max", "--model.learning_rate", 1e-4]
    code, _, err = lit_cifar("fit", *SMALL, *on_pictures, *spelling, *monitored, *never_better)
    assert code == 0, err
    rates = pd.read_csv("logs/fit/ELU/version_0/metrics.csv")["train/learning_rate"].dropna()
    assert rates.tolist() == pytest.approx([1e-4, 1e-4, 1e-5, 1e-6, 1e-7])
    config = yaml.safe_load(Path("logs/fit/ELU/version_0/config.yaml").read_text())
    assert config["model"]["scheduler"]["class_path"].endswith("ReduceLROnPlateau")


@pytest.mark.parametrize(
    ("optimizer", "message"), [("Muon", "Muon only supports 2D parameters"), ("SparseAdam", "sparse gradients")]
)
def test_an_optimizer_that_can_not_train_the_network_is_one_line(
    optimizer: str, message: str, lit_cifar: Run, on_pictures: list[object], workspace: Path
) -> None:
    code, _, err = lit_cifar("fit", *SMALL, *on_pictures, "--model.optimizer", optimizer)
    assert code == 1
    assert message in err
    assert "Traceback" not in err

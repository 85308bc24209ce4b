"""Finished runs, for the commands that read their checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.small_runs import SMALL, Run


@pytest.fixture
def fitted(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> Path:
    """The folder of a short run of SELU."""
    code, _, err = lit_cifar("fit", "--model.variant", "SELU", *SMALL, *on_pictures, "--trainer.max_epochs", 2)
    assert code == 0, err
    return workspace / "logs/fit/SELU/version_0"


@pytest.fixture
def with_dropout(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> Path:
    """The best checkpoint of a short run with alpha dropout."""
    code, _, err = lit_cifar("fit", "--model.variant", "AlphaDropout", *SMALL, *on_pictures, "--trainer.max_epochs", 2)
    assert code == 0, err
    return workspace / "logs/fit/AlphaDropout/version_0/checkpoints/best.ckpt"

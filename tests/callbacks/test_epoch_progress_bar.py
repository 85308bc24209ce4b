"""Progress in one line, wherever it is shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.usefixtures("no_figures")
def test_fit_has_one_bar_and_validate_its_own(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> None:
    data = on_pictures[: on_pictures.index("--trainer.enable_progress_bar")]
    small = ("--model.variant", "ELU", "--model.variant.depth", 1, "--model.variant.width", 4)
    code, out, err = lit_cifar("fit", *small, *data, "--trainer.max_epochs", 2)
    assert code == 0, err
    assert "\nBest epoch: " in out
    assert "Epoch 2/2: 100%" in out
    assert "val/accuracy=" in out
    assert "Validation" not in out
    assert "Sanity" not in out
    assert "v_num" not in out
    assert "\x1b[A" not in out, "a notebook's cell can't move the cursor up"
    code, out, err = lit_cifar("validate", "--ckpt_path", "logs/fit/ELU/version_0/checkpoints/best.ckpt")
    assert code == 0, err
    assert "Validation DataLoader 0: 100%" in out
    code, out, err = lit_cifar("predict", "--ckpt_path", "logs/fit/ELU/version_0/checkpoints/best.ckpt")
    assert code == 0, err
    assert "Predicting DataLoader 0: 100%" in out
    assert "Predicting" not in out.partition("Predicted: ")[2]
    assert re.search(r"\r +\r\n.*, \d", out), "the bar is gone when the first prediction is printed"
    wrong = ("--data.source", "synthetic", "--data.train_size", 10)
    code, out, err = lit_cifar("test", "--ckpt_path", "logs/fit/ELU/version_0/checkpoints/best.ckpt", *wrong)
    assert code == 1
    assert "The network knows the classes" in err
    assert re.fullmatch(r"[^\n]*\r *\r", out), "the error has a line of its own"

"""`lit-cifar lr-find` as a user types it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lit_cifar.commands import lr_find
from lit_cifar.lr_find.curve import read_curve
from lit_cifar.lr_find.search import LearningRateSearch

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def options(on_pictures: list[object]) -> list[object]:
    """A small network and a short range test."""
    network = ["--model.variant", "SELU", "--model.variant.depth", 2, "--model.variant.width", 16]
    return [*network, *on_pictures, "--steps", 100]


def test_finds_confirms_and_prints_the_line_for_fit(lit_cifar: Run, options: list[object], workspace: Path) -> None:
    code, out, err = lit_cifar("lr-find", *options, "--confirm", 3, "--confirm_epochs", 2)
    assert code == 0, err
    folder = workspace / "logs/lr-find/SELU"
    assert {path.name for path in folder.iterdir()} == {"lr_find.json", "lr_find.png"}
    assert {path.name for path in workspace.iterdir()} == {"logs"}, "nothing else is left behind"
    found = json.loads((folder / "lr_find.json").read_text())
    losses = [run["val_loss"] for run in found["confirm_runs"]]
    assert losses == sorted(losses)
    assert len(losses) >= 3
    assert found["learning_rate"] == found["confirm_runs"][0]["learning_rate"]
    assert 1e-6 < found["suggestion"] < 1
    line = next(line for line in out.splitlines() if line.startswith("lit-cifar fit"))
    assert "--confirm" not in line
    assert "--steps" not in line
    code, _, err = lit_cifar(*shlex.split(line)[1:], "--trainer.max_epochs", 1)
    assert code == 0, err


def test_the_line_for_fit_is_quoted_for_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    curve = read_curve([1e-5 * 1.2**n for n in range(40)], [2.3 - 0.01 * n for n in range(40)])
    search = LearningRateSearch(curve, ())
    lr_find._print(search, Path("found"), ["--data.data_dir", "my pictures", "--steps", "100"], Console(width=300))
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[:4] == ["lit-cifar", "fit", "--data.data_dir", "my pictures"]
    assert words[4:] == ["--model.learning_rate", f"{search.learning_rate:.2g}"]


def test_runs_again_to_the_same_suggestion(lit_cifar: Run, options: list[object], workspace: Path) -> None:
    found = []
    for _ in range(2):
        assert lit_cifar("lr-find", *options)[0] == 0
        found.append(json.loads((workspace / "logs/lr-find/SELU/lr_find.json").read_text())["losses"])
    assert found[0] == found[1]


def test_says_that_the_trainers_callbacks_are_left_out(lit_cifar: Run, options: list[object]) -> None:
    code, out, err = lit_cifar("lr-find", *options, "--trainer.callbacks", "LearningRateMonitor")
    assert code == 0, err
    assert "The search trains without the callbacks of --trainer.callbacks." in out


def test_finds_the_peak_of_one_cycle(lit_cifar: Run, options: list[object], workspace: Path) -> None:
    code, _, err = lit_cifar("lr-find", *options, "--model.scheduler", "one_cycle", "--confirm", 1)
    assert code == 0, err
    found = json.loads((workspace / "logs/lr-find/SELU/lr_find.json").read_text())
    assert len(found["confirm_runs"]) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--min_lr", 1, "--max_lr", 0.1], "--min_lr"),
        (["--confirm", -1], "--confirm"),
        (["--steps", 5], "steps"),
    ],
)
def test_mistakes_are_one_line(
    changes: list[object], message: str, lit_cifar: Run, options: list[object], workspace: Path
) -> None:
    code, _, err = lit_cifar("lr-find", *options, *changes)
    assert code != 0
    assert message in err
    assert "Traceback" not in err

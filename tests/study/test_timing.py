"""Timing: runs train alone, in turn, once; a study that is continued doesn't repeat it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn

from lit_cifar.study import looks, runner, timing
from lit_cifar.study.clock import OutOfTime
from lit_cifar.study.finished import Row
from lit_cifar.study.plan import PlannedRun, plan_runs
from lit_cifar.study.schema import Question, Run, Study
from lit_cifar.study.session import Session
from lit_cifar.study.timing import in_turn, timed_runs
from lit_cifar.training.module import LitClassifier

Command = Callable[..., tuple[int, str, str]]
STUDY = """\
title: Timed
seeds: 1
protocol: {max_epochs: 3, batch_size: 16, val_size: 30, mc_samples: 3}
runs:
  ELU:
    model: {variant: {class_path: ELU, init_args: {depth: 1, width: 8}}}
  dropout:
    model: {variant: {class_path: AlphaDropout, init_args: {depth: 1, width: 8}}}
  other:
    model: {variant: {class_path: ELU, init_args: {depth: 1, width: 8}}}
questions:
  - {ask: "As cheap?", treatment: dropout, baseline: ELU, measure: seconds_per_epoch, kind: as good}
  - ask: MC as cheap?
    treatment: dropout
    baseline: dropout
    measure: mc_test_seconds
    baseline_measure: test_seconds
    kind: as good
  - {ask: "Better?", treatment: dropout, baseline: ELU}
"""


@pytest.fixture
def arguments(workspace: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    monkeypatch.setattr(runner, "write_report", lambda *_: None)
    monkeypatch.setattr(runner, "FIRST_ROUNDS", 3)
    monkeypatch.setattr(looks, "FIRST_ROUNDS", 3)
    monkeypatch.setenv("COLUMNS", "300")
    (workspace / "timed.yaml").write_text(STUDY)
    data = ["--data.source", "folder", "--data.data_dir", pictures]
    return ["compare", "--study", "timed.yaml", *data, "--workers", 0, "--output", "s"]


def test_runs_of_questions_about_seconds_are_timed_once(
    lit_cifar: Command, arguments: list[object], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = lit_cifar(*arguments)
    assert code == 0, err
    assert "Timing 2 runs alone, 3 rounds." in out
    assert out.index("timed alone, round 3") < out.index("ELU, seed 0: test accuracy")
    first, second, third = (line for line in out.splitlines() if line.startswith("Q"))
    assert " As cheap? × " in first
    assert first.endswith("3 rounds")
    assert "not timed" not in first + second
    assert third.endswith("1 seed")
    timed = {path: path.stat().st_mtime_ns for path in workspace.rglob("timing_*/result.json")}
    assert {path.parent.parent.name for path in timed} == {"ELU", "dropout"}
    assert len(timed) == 2 * 3
    assert set(pd.read_csv("s/results.csv")["seed"]) == {0}  # rounds are no seeds
    monkeypatch.setattr("lit_cifar.study.run.time_run", pytest.fail)
    code, again, err = lit_cifar(*arguments)
    assert code == 0, err
    assert {path: path.stat().st_mtime_ns for path in timed} == timed
    assert [line for line in again.splitlines() if line.startswith("Q")] == [first, second, third]
    described = {name: Path("s", name).read_bytes() for name in ("study.yaml", "environment.json")}
    code, _, err = lit_cifar(*arguments, "--max_epochs", 2)  # refused before anything is timed
    assert code == 1
    assert "Changed since: the settings of ELU, dropout, other." in err
    assert {name: Path("s", name).read_bytes() for name in described} == described  # judge reads them
    assert lit_cifar("judge", "s", "--keep", "record")[0] == 0
    table = pd.read_csv("record/timings.csv")
    assert table.groupby("run")["round"].apply(list).to_dict() == {"ELU": [*range(3)], "dropout": [*range(3)]}
    assert (table["seconds_per_epoch"] > 0).all()
    assert table.loc[table["run"] == "ELU", "mc_test_seconds"].isna().all()
    assert table["cpu_share"].between(0.01, 1).all()
    assert first in lit_cifar("judge", "record")[1].splitlines()


def test_open_questions_about_seconds_get_more_rounds(
    lit_cifar: Command, arguments: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A continued study doesn't repeat them, and judging it anew finds the same."""
    for module in (runner, looks):
        monkeypatch.setattr(module, "MOST_ROUNDS", 5)
    seconds = {"ELU": [1.0, 1.1, 1.0, 1.1, 1.0], "dropout": [1.9, 1.0, 1.3, 1.5, 1.4]}

    def time_run(run: PlannedRun, *_: object) -> Row:
        found = seconds[run.name][run.seed]
        return {"lr": 0.1, "seconds_per_epoch": found, "test_seconds": 1.0, "mc_test_seconds": 9.0 + found / 10}

    monkeypatch.setattr("lit_cifar.study.run.time_run", time_run)
    code, out, err = lit_cifar(*arguments, "--seeds", "auto", "--max_seeds", 4)
    assert code == 0, err
    assert "Timing 2 runs alone, 3 rounds." in out
    assert "Timing 2 runs alone, up to 5 rounds." in out
    lines = [line for line in out.splitlines() if line.startswith("Q")]
    assert lines[0].endswith("5 rounds")
    monkeypatch.setattr("lit_cifar.study.run.time_run", pytest.fail)
    code, again, err = lit_cifar(*arguments, "--seeds", "auto", "--max_seeds", 4)
    assert code == 0, err
    assert [line for line in again.splitlines() if line.startswith("Q")] == lines
    assert lit_cifar("judge", "s", "--keep", "record")[0] == 0
    assert [line for line in lit_cifar("judge", "record")[1].splitlines() if line.startswith("Q")] == lines


def test_out_of_time_before_the_timing_is_said(
    lit_cifar: Command, arguments: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def over(*_: object, **__: object) -> None:
        raise OutOfTime

    monkeypatch.setattr(Session, "time_alone", over)
    _, out, _ = lit_cifar(*arguments)
    assert "Q1 Can't tell: not timed. As cheap? –" in out


def study(**options: object) -> Study:
    runs = {name: Run(model={"variant": "ELU"}) for name in "abc"}
    asked = Question(ask="?", treatment="c", baseline="a", measure="seconds_to_reach")
    return Study(title="", runs=runs, questions=[asked], seeds=2, **options)  # type: ignore[arg-type]


def test_which_runs_are_timed_and_in_which_order() -> None:
    assert timed_runs(study()) == ["a", "c"]
    assert timed_runs(study(time_all_runs=True)) == ["a", "b", "c"]
    assert timed_runs(study(time_all_runs=True).quickly()) == ["a", "c"]
    order = [(run.seed, run.name) for run in in_turn(plan_runs(study(), {}, seeds=range(3), names=["a", "c"]))]
    assert order == [(0, "a"), (0, "c"), (1, "c"), (1, "a"), (2, "a"), (2, "c")]


def test_predictions_are_timed_where_the_run_was_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lightning leaves the network on the CPU after training; "meta" stands for an accelerator."""
    devices = []

    def fit(trainer: Trainer, model: LitClassifier, datamodule: object) -> None:
        clock: Any = trainer.callbacks[0]  # type: ignore[attr-defined]
        clock.seconds, clock.processor_seconds = [1.0], 1.0

    def predict(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
        devices.append((next(network.parameters()).device.type, images.device.type))
        return {"probabilities": torch.zeros(1)}

    monkeypatch.setattr(Trainer, "fit", fit)
    monkeypatch.setattr(SingleDeviceStrategy, "root_device", torch.device("meta"))
    monkeypatch.setattr(timing, "predict", predict)
    model: Any = SimpleNamespace(network=nn.Linear(2, 2), learning_rate=0.1)
    data: Any = SimpleNamespace(val_dataloader=lambda: [torch.zeros(1, 1, 3, 4, 4)])
    planned = Run(model={"variant": "ELU"}, mc_samples=0)
    row = timing.time_run(plan_runs(Study(title="T", runs={"a": planned}), {})[0], tmp_path, model, data)
    assert row["seconds_per_epoch"] == 1.0
    assert devices == [("meta", "meta")] * timing.PASSES

"""Seeds are added until every question is answered or the time is over."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from lit_cifar.study import clock
from tests.study.tiny_study import Run

SEQUENTIAL = """\
title: Until it is settled
seeds: auto
max_seeds: 8
protocol: {max_epochs: 1, batch_size: 64, val_size: 30}
runs:
  ELU:
    model: {variant: {class_path: ELU, init_args: {depth: 1, width: 4}}}
  same:
    model: {variant: {class_path: ELU, init_args: {depth: 1, width: 4}}, l1: 0.0}
  SELU:
    model: {variant: {class_path: SELU, init_args: {depth: 1, width: 4}}}
questions:
  - {ask: "Is the same as good?", treatment: same, baseline: ELU, margin: 0.3, kind: as good}
  - {ask: "Is SELU?", treatment: SELU, baseline: ELU, margin: 0.6, kind: as good}
"""


@pytest.mark.usefixtures("no_report")
def test_seeds_are_added_until_every_question_is_answered(
    lit_cifar: Run, arguments: list[object], workspace: Path
) -> None:
    """SELU is settled at once. Two equal runs have no spread to estimate: 2 / 2**n sign flips decide with 8 seeds."""
    (workspace / "auto.yaml").write_text(SEQUENTIAL)
    command = ["compare", "--study", "auto.yaml", *arguments[2:], "--workers", 0]
    code, out, err = lit_cifar(*command)
    assert code == 0, err
    folder = workspace / "logs/compare/auto-pictures0"
    seeds = pd.read_csv(folder / "results.csv").groupby("run")["seed"].count()
    assert seeds.to_dict() == {"ELU": 8, "same": 8, "SELU": 4}
    looks = json.loads((folder / "looks.json").read_text())["looks"]
    assert [(look["seeds"], look["weight"]) for look in looks] == [(4, 0.5), (6, 0.25), (8, 0.25)]
    assert "4 seeds: 1 of 2 questions answered." in out
    finished = {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    assert lit_cifar(*command)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")} == finished
    assert json.loads((folder / "looks.json").read_text())["looks"] == looks


@pytest.mark.usefixtures("no_report")
def test_a_time_budget_is_kept_to_and_the_study_goes_on_later(
    lit_cifar: Run, arguments: list[object], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock strikes in the second epoch of the sixth run: two runs have two seeds, one has one."""
    (workspace / "auto.yaml").write_text(SEQUENTIAL.replace("max_epochs: 1", "max_epochs: 2"))
    command = ["compare", "--study", "auto.yaml", *arguments[2:], "--workers", 0]
    ticks = iter(range(10_000))
    with monkeypatch.context() as patch:
        patch.setattr(clock.Clock, "check", lambda _: None if next(ticks) < 16 else over())
        code, out, err = lit_cifar(*command, "--minutes", 1)
    assert code == 0, err
    assert "The time budget is over." in out
    folder = workspace / "logs/compare/auto-pictures0"
    looks = json.loads((folder / "looks.json").read_text())["looks"]
    assert [(look["seeds"], look["weight"]) for look in looks] == [(1, 1 / 8)]
    finished = {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    assert len(finished) == 5
    assert lit_cifar(*command)[0] == 0
    looks = json.loads((folder / "looks.json").read_text())["looks"]
    assert [(look["seeds"], look["weight"]) for look in looks] == [(1, 1 / 8), (4, 3 / 8), (6, 2 / 8), (8, 2 / 8)]
    assert all(path.stat().st_mtime_ns == then for path, then in finished.items())


def over() -> None:
    raise clock.OutOfTime


def test_a_time_budget_without_a_result_says_so(lit_cifar: Run, arguments: list[object]) -> None:
    code, _, err = lit_cifar("compare", *arguments, "--workers", 0, "--minutes", 0.0001)
    assert code == 1
    assert err.endswith("The time budget was over before every run had a seed: give more, --minutes …\n")

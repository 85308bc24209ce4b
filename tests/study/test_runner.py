"""Studies from plan to results."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_cifar.data.sources.synthetic import SyntheticSource
from lit_cifar.study.engines.base import run_all, run_here
from lit_cifar.study.plan import PlannedRun, plan_runs
from lit_cifar.study.progress import StudyProgress
from lit_cifar.study.result import StudyResult
from lit_cifar.study.schema import Protocol
from lit_cifar.study.study_file import parse_study
from lit_cifar.study.terminal import print_result
from tests.study.tiny_study import STUDY, TIMES, Run, results

COLUMNS = {
    "variant",
    "seed",
    "lr",
    "batch_size",
    "epochs",
    "best_epoch",
    "seconds_per_epoch",
    "train_seconds",
    "val_loss",
    "val_acc",
    "test_acc",
    "test_nll",
    "parameters",
    "data_source",
    "status",
}


def test_study_from_plan_to_report(lit_cifar: Run, arguments: list[object], workspace: Path) -> None:
    code, out, err = lit_cifar("compare", *arguments, "--workers", 0)
    assert code == 3, err
    folder = workspace / "logs/compare/tiny-pictures0"
    table = pd.read_csv(folder / "results.csv")
    assert set(table.columns) >= COLUMNS
    assert len(table) == 6
    assert table["status"].tolist() == ["ok", "ok", "failed"] * 2
    assert table["reason"][2].startswith("NonFiniteLossError")
    ok = table[table["status"] == "ok"]
    assert ok["test_acc"].between(0, 1).all()
    assert (ok["parameters"] == 3072 * 8 + 8 + 8 * 8 + 8 + 8 * 3 + 3).all()
    assert ok["mc_test_acc"].notna().tolist() == [False, True] * 2
    assert "pictures" in table["data_source"][0]
    assert {"report.html", "report.md", "summary.csv"} <= {path.name for path in folder.iterdir()}
    assert (folder / "figures/learning_curves.png").stat().st_size > 10_000
    shown = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("events.out.tfevents.*")}
    trained = {f"runs/{run}/seed_{seed}" for run in ("ELU", "AlphaDropout") for seed in (0, 1)}
    assert trained < shown, "one run of TensorBoard for each training"
    for run in trained:
        row = EventAccumulator(str(folder / run))
        row.Reload()
        assert {"test/accuracy", "test/nll", "test/ece", "train/total_seconds"} <= set(row.Tags()["scalars"])
    epochs = pd.read_csv(folder / "runs/ELU/seed_0/metrics.csv")
    assert epochs["train/learning_rate"].dropna().unique() == pytest.approx(table["lr"][0])
    assert "ELU, seed 0: test accuracy" in out
    assert str(Path("logs/compare/tiny-pictures0/report.html")) in out
    assert "Does exploding help?" in (folder / "report.html").read_text()
    assert "Q1 Can't tell yet. Is dropout better? " in " ".join(out.split())


CONVOLUTIONAL = """\
title: Dense or not
seeds: 1
protocol: {max_epochs: 1, batch_size: 16, val_size: 30, mc_samples: 5}
runs:
  ELU:
    model: {variant: {class_path: ELU, init_args: {depth: 2, width: 8}}}
  ConvNet:
    model: {variant: {class_path: ConvNet, init_args: {stages: 1, channels: 4}}}
questions:
  - {ask: "Do convolutions help?", treatment: ConvNet, baseline: ELU}
"""


@pytest.mark.slow
def test_a_study_takes_networks_that_are_not_dense(lit_cifar: Run, arguments: list[object], workspace: Path) -> None:
    (workspace / "convolutional.yaml").write_text(CONVOLUTIONAL)
    code, _, err = lit_cifar("compare", "--study", "convolutional.yaml", *arguments[2:], "--workers", 0)
    assert code == 0, err
    folder = workspace / "logs/compare/convolutional-pictures0"
    table = pd.read_csv(folder / "results.csv").set_index("run")
    assert table["status"].tolist() == ["ok", "ok"]
    assert table["mc_test_acc"].notna().to_dict() == {"ELU": False, "ConvNet": True}
    assert table["dead_units"].between(0, 1).all()
    assert (folder / "report.html").is_file()


@pytest.mark.usefixtures("no_report")
def test_finished_runs_are_not_repeated(lit_cifar: Run, arguments: list[object], workspace: Path) -> None:
    lit_cifar("compare", *arguments, "--workers", 0)
    folder = workspace / "logs/compare/tiny-pictures0"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    first = results(folder)
    (folder / "runs/ELU/seed_1/result.json").unlink()
    code, _out, err = lit_cifar("compare", *arguments, "--workers", 0)
    assert code == 3, err
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("result.json")}
    repeated = {str(path.parent.relative_to(folder / "runs")) for path in before if before[path] != after[path]}
    assert repeated == {"ELU/seed_1", "exploding/seed_0", "exploding/seed_1"}  # the missing one, and those that failed
    pd.testing.assert_frame_equal(results(folder), first)


@pytest.mark.usefixtures("no_report")
def test_a_changed_plan_is_run_anew_when_asked_for(lit_cifar: Run, arguments: list[object], workspace: Path) -> None:
    lit_cifar("compare", *arguments, "--workers", 0)
    folder = workspace / "logs/compare/tiny-pictures0"
    before = results(folder)
    code, _, err = lit_cifar("compare", *arguments, "--workers", 0, "--max_epochs", 1)
    assert code == 1
    assert "Changed since: the settings of ELU, AlphaDropout." in err.splitlines()[-1]
    pd.testing.assert_frame_equal(results(folder), before)
    code, _, err = lit_cifar("compare", *arguments, "--workers", 0, "--max_epochs", 1, "--fresh")
    assert code == 3, err
    assert results(folder).dropna(subset="epochs")["epochs"].max() == 1


@pytest.mark.slow
def test_auto_is_chosen_once_and_said_in_every_artifact(
    lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SyntheticSource.__init__, "__kwdefaults__", {"train_size": 300, "test_size": 50, "seed": 0})
    (workspace / "tiny.yaml").write_text(STUDY)
    nowhere = ["--data.urls", "[http://127.0.0.1:9/cifar-10-python.tar.gz]"]
    code, out, err = lit_cifar("compare", "--study", "tiny.yaml", "--data.source", "auto", *nowhere, "--workers", 0)
    assert code == 3, err
    assert err.count("SYNTHETIC IMAGES") == 1
    name = "synthetic shapes (CIFAR-10 is not available)"
    folder = workspace / "logs/compare/tiny-synthetic"
    assert set(pd.read_csv(folder / "results.csv")["data_source"]) == {name}
    assert name in " ".join(out.split())
    for artifact in ("report.html", "report.md"):
        assert name in (folder / artifact).read_text()


def test_a_run_can_be_repeated_from_its_folder_whatever_threads_there_are(tmp_path: Path, pictures: Path) -> None:
    data = {"source": "folder", "data_dir": str(pictures)}
    threads = []
    planned = plan_runs(parse_study(STUDY, source="tiny.yaml", name="tiny"), data)[1]
    [(_, row, _)] = run_all([planned], tmp_path / "first", run_here, lambda *_: None)
    assert row["status"] == "ok", row
    plan = json.loads((tmp_path / "first" / planned.folder / "result.json").read_text())["plan"]
    repeated = PlannedRun(**plan | {"protocol": Protocol(**plan["protocol"])})
    torch.set_num_threads(2)
    [(_, again, _)] = run_all(
        [repeated], tmp_path / "again", run_here, lambda *_: threads.append(torch.get_num_threads())
    )
    assert set(threads) == {1}
    assert torch.get_num_threads() == 2
    assert {name: row[name] for name in row.keys() - TIMES} == {name: again[name] for name in again.keys() - TIMES}


def test_names_are_no_markup(study_result: StudyResult) -> None:
    run = PlannedRun(name="[/x]", seed=0, model={}, data={}, protocol=Protocol())
    console = Console(file=io.StringIO(), record=True, force_terminal=True, width=150)
    with StudyProgress(1, console) as progress:
        progress.epoch(run.label, 1, 0.5)
        progress.finished(run, {"status": "failed", "reason": "[/y]"}, here=True)
    study = study_result.study.model_copy(update={"title": "[/title]"})
    result = replace(study_result, study=study, summary=study_result.summary.assign(run="[/x]"), data_source="[/data]")
    print_result(result, Path("[/folder]"), console)
    shown = console.export_text()
    assert "[1/1] [/x], seed 0: failed: [/y]" in shown
    assert shown.count("  [/x]") == len(result.summary)
    for name in ("[/title]", "[/data]", "[/folder]"):
        assert name in shown


def test_the_terminal_shows_no_interval_of_few_seeds(study_result: StudyResult) -> None:
    for seeds, expected in ((3, False), (4, True)):
        console = Console(file=io.StringIO(), record=True, width=100)
        print_result(replace(study_result, summary=study_result.summary.assign(seeds=seeds)), Path("folder"), console)
        assert ("±" in console.export_text()) == expected


def test_the_terminal_shows_every_answer_and_whole_names(study_result: StudyResult) -> None:
    console = Console(file=io.StringIO(), record=True, width=60)
    print_result(study_result, Path("folder"), console)
    shown = console.export_text()
    in_a_line = " ".join(shown.split())
    assert "Q1 Yes. Does batch normalization produce a better model than ELU alone? +" in in_a_line
    assert "Q4 No (worse). Does alpha dropout produce a better model than BatchNorm? −" in in_a_line
    assert re.search(r"\n +AlphaDropout, .*\n +one-cycle ", shown)
    assert "…" not in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--seeds", "0"], "--seeds: 0 should be greater than or equal to 1"),
        (["--variants", "ELU,SLU"], "Did you mean 'SELU'?"),
        (["--variants", "ELU,ELU"], "different names"),
        (["--study", "nothing"], "There is no study 'nothing'"),
        (["--lr", "fast"], "lr"),
        (["--ray", "somewhere"], "--ray somewhere is not an address: give the cluster's HOST:PORT"),
        (["--ray", "http://10.0.0.1:8265"], "give the cluster's HOST:PORT"),
        (["--ray", "10.0.0.1:ray"], "give the cluster's HOST:PORT"),
    ],
)
def test_mistakes_are_one_line(changes: list[str], message: str, lit_cifar: Run, workspace: Path) -> None:
    code, _, err = lit_cifar("compare", *changes)
    assert code != 0
    assert message in err
    assert "Traceback" not in err
    assert not list(workspace.iterdir())

"""Studies from plan to results: run, killed, continued."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_cifar.data.sources.synthetic import SyntheticSource
from lit_cifar.study import clock, folders, runner
from lit_cifar.study.engines.base import run_all, run_here
from lit_cifar.study.plan import PlannedRun, plan_runs
from lit_cifar.study.progress import StudyProgress
from lit_cifar.study.result import StudyResult
from lit_cifar.study.schema import Protocol
from lit_cifar.study.study_file import parse_study
from lit_cifar.study.terminal import print_result
from lit_cifar.utils.errors import UserError

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
STUDY = """\
title: Tiny
seeds: 2
protocol: {max_epochs: 2, batch_size: 16, val_size: 30, mc_samples: 5}
runs:
  ELU:
    model: {variant: {class_path: ELU, init_args: {depth: 2, width: 8}}}
  AlphaDropout:
    model: {variant: {class_path: AlphaDropout, init_args: {depth: 2, width: 8}}}
  exploding:
    model: {variant: {class_path: ELU, init_args: {depth: 2, width: 8}}, optimizer: SGD}
    learning_rate: 1.0e+30
questions:
  - {ask: "Is dropout better?", treatment: AlphaDropout, baseline: ELU}
  - {ask: "Sooner?", treatment: AlphaDropout, baseline: ELU, measure: epochs_to_reach}
  - {ask: "MC?", treatment: AlphaDropout, baseline: AlphaDropout, measure: mc_test_acc, baseline_measure: test_acc}
  - {ask: "Does exploding help?", treatment: exploding, baseline: ELU}
"""
TIMES = ["seconds", "seconds_per_epoch", "train_seconds", "test_seconds", "mc_test_seconds"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def arguments(workspace: Path, pictures: Path) -> list[object]:
    """The options of `compare` for the tiny study."""
    (workspace / "tiny.yaml").write_text(STUDY)
    return ["--study", "tiny.yaml", "--data.source", "folder", "--data.data_dir", pictures]


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures take longer than the tiny study."""
    monkeypatch.setattr(runner, "write_report", lambda *_: None)


def results(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "results.csv")
    return table.drop(columns=[column for column in TIMES if column in table])


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
    trained = {f"runs/{run}/seed_{seed}" for run in ("ELU", "Dropout") for seed in (0, 1)}
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


def test_auto_is_chosen_once_and_said_in_every_artifact(
    lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SyntheticSource.__init__, "__kwdefaults__", {"train_size": 300, "test_size": 50, "seed": 0})
    (workspace / "tiny.yaml").write_text(STUDY)
    nowhere = ["--data.urls", "[http://127.0.0.1:9/cifar-10-python.tar.gz]"]
    code, out, err = lit_cifar("compare", "--study", "tiny.yaml", "--data.source", "auto", *nowhere, "--workers", 0)
    assert code == 3, err
    assert err.count("SYNTHETIC IMAGES") == 1
    name = "synthetic shapes (CIFAR-10 could not be had)"
    folder = workspace / "logs/compare/tiny-synthetic"
    assert set(pd.read_csv(folder / "results.csv")["data_source"]) == {name}
    assert name in " ".join(out.split())
    for artifact in ("report.html", "report.md"):
        assert name in (folder / artifact).read_text()


@pytest.mark.slow
def test_a_study_killed_twice_equals_an_uninterrupted_one(
    lit_cifar: Run, arguments: list[object], workspace: Path
) -> None:
    options = [str(argument) for argument in (*arguments, "--workers", 2, "--seeds", 4)]
    command = [sys.executable, "-m", "lit_cifar", "compare", *options]
    interrupted = workspace / "interrupted"
    for wanted in (2, 5):
        process = subprocess.Popen([*command, "--output", interrupted], start_new_session=True)  # noqa: S603
        deadline = time.monotonic() + 120
        while len(list(interrupted.rglob("result.json"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert len(list(interrupted.rglob("result.json"))) >= wanted
    rows = {path: json.loads(path.read_text())["row"] for path in interrupted.rglob("result.json")}
    assert 5 <= len(rows) < 12
    finished = {path: row["seconds"] for path, row in rows.items() if row["status"] == "ok"}
    subprocess.run([*command, "--output", interrupted], check=True, timeout=300)  # noqa: S603
    subprocess.run([*command, "--output", workspace / "whole"], check=True, timeout=300)  # noqa: S603
    for path, seconds in finished.items():
        assert json.loads(path.read_text())["row"]["seconds"] == seconds, f"{path} was repeated"
    pd.testing.assert_frame_equal(results(interrupted), results(workspace / "whole"))
    assert len(results(interrupted)) == 12


DEADLY = """
import os, signal
from contextlib import suppress
from pathlib import Path
from variants.elu import ELU

class Always(ELU):
    def build(self, image_shape, num_classes):
        network = super().build(image_shape, num_classes)
        network.register_forward_hook(self.dies)
        return network

    def dies(self, network, inputs, output):
        if network.training and self.must_die():
            os.kill(os.getpid(), signal.SIGKILL)

    def must_die(self):
        return True

class Once(Always):
    def must_die(self):
        first = not Path("died").exists()
        Path("died").touch()
        return first

class Fills(Always):
    def must_die(self):
        if "FILL" in os.environ:
            with suppress(OSError):
                Path("logs/filler").write_bytes(bytes(32 << 20))
"""
STUDY_OF_THE_DEADLY = """\
title: "[/deadly]"
seeds: 1
protocol: {max_epochs: 2, batch_size: 16, val_size: 30}
runs:
  ELU:
    model: {variant: {class_path: ELU, init_args: {depth: 2, width: 8}}}
"""


@pytest.fixture
def deadly(arguments: list[object], workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[object]]:
    """Options of `compare` for a study of ELU and of variants that do harm."""
    (workspace / "deadly.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(workspace)

    def study(*names: str) -> list[object]:
        runs = [
            f"  {name}:\n    model: {{variant: {{class_path: deadly.{name}, init_args: {{depth: 2, width: 8}}}}}}\n"
            for name in names
        ]
        (workspace / "deadly.yaml").write_text(STUDY_OF_THE_DEADLY + "".join(runs))
        return ["--study", "deadly.yaml", *arguments[2:]]

    return study


@pytest.mark.slow
def test_a_run_whose_worker_is_killed_is_repeated_and_at_last_given_up(
    lit_cifar: Run, deadly: Callable[..., list[object]], workspace: Path
) -> None:
    code, out, err = lit_cifar("compare", *deadly("Always", "Once"), "--workers", 2)
    assert code == 3, err
    table = pd.read_csv(workspace / "logs/compare/deadly-pictures0/results.csv").set_index("run")
    assert table["status"].to_dict() == {"ELU": "ok", "Always": "failed", "Once": "ok"}
    assert "killed (SIGKILL), probably because memory ran out: try fewer workers, 3 times" in table["reason"]["Always"]
    assert table["test_acc"]["Once"] == table["test_acc"]["ELU"]
    assert err.count("Always, seed 0: Its process was killed") == 2
    assert err.count("Once, seed 0: Its process was killed") == 1
    assert "Always, seed 0: failed: Its process was killed" in out


@pytest.mark.slow
def test_a_really_full_disk_stops_a_study_which_goes_on_when_there_is_room(
    lit_cifar: Run,
    deadly: Callable[..., list[object]],
    on_a_small_disk: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["compare", *deadly("Fills"), "--workers", 1]
    with monkeypatch.context() as patch:
        patch.setenv("FILL", "")
        done = on_a_small_disk(sys.executable, "-m", "lit_cifar", *command)
    assert done.returncode == 1
    assert "No space left on device. Make room" in done.stderr
    assert "Traceback" not in done.stderr
    finished = results(Path("logs/compare/deadly-pictures0"))
    assert finished["run"].tolist() == ["ELU"]
    result = Path("logs/compare/deadly-pictures0/runs/ELU/seed_0/result.json").read_bytes()
    code, _, err = lit_cifar(*command[:-1], 0)
    assert code == 0, err
    assert results(Path("logs/compare/deadly-pictures0"))["status"].tolist() == ["ok", "ok"]
    assert Path("logs/compare/deadly-pictures0/runs/ELU/seed_0/result.json").read_bytes() == result


@pytest.mark.slow
def test_two_studies_in_the_same_folder(lit_cifar: Run, arguments: list[object], workspace: Path) -> None:
    holder = workspace / "logs/compare/tiny-pictures0/.lock.pid"
    options = ["compare", *map(str, arguments)]
    endless = ["--max_epochs", "100000", "--patience", "100000", "--workers", "1"]
    first = subprocess.Popen([sys.executable, "-m", "lit_cifar", *options, *endless])  # noqa: S603
    try:
        while not list(workspace.glob("logs/compare/tiny-pictures0/runs/*/*/metrics.csv")) and first.poll() is None:
            time.sleep(0.1)
        code, _, err = lit_cifar(*options)
        assert code == 1
        assert err.endswith("wait for it, or choose another folder, --output …\n")
        assert f"Another study is at work in logs/compare/tiny-pictures0 (process {first.pid} on " in err
    finally:
        first.kill()
        first.wait()
    assert holder.is_file()
    code, _, err = lit_cifar(*options, "--workers", 0)
    assert code == 3, err
    assert results(workspace / "logs/compare/tiny-pictures0")["status"].tolist() == ["ok", "ok", "failed"] * 2


def test_a_folder_holds_one_study_at_a_time(tmp_path: Path) -> None:
    with (
        folders.alone_in(tmp_path),
        pytest.raises(UserError, match=rf"\(process {os.getpid()} on "),
        folders.alone_in(tmp_path),
    ):
        pass


def test_what_a_variant_raises_is_the_reason_of_its_row(
    lit_cifar: Run, deadly: Callable[..., list[object]], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = deadly("Always")
    monkeypatch.setattr(os, "kill", lambda *_: {}["what is not there"])
    code, _, err = lit_cifar("compare", *options, "--workers", 0)
    assert code == 3, err
    table = pd.read_csv(workspace / "logs/compare/deadly-pictures0/results.csv")
    assert table["status"].tolist() == ["ok", "failed"]
    assert table["reason"][1] == "KeyError: 'what is not there'"
    traceback = (workspace / "logs/compare/deadly-pictures0/runs/Always/seed_0/traceback.txt").read_text()
    assert "in dies" in traceback


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


def test_the_terminal_shows_every_answer_and_whole_names(study_result: StudyResult) -> None:
    console = Console(file=io.StringIO(), record=True, width=80)
    print_result(study_result, Path("folder"), console)
    shown = console.export_text()
    assert "Q1 Yes. Does batch normalization produce a better model than ELU alone? +" in shown
    assert "Q4 Worse. Does alpha dropout produce a better model than BatchNorm? −" in shown
    assert re.search(r"\n +AlphaDropout, .*\n +one-cycle ", shown)
    assert "…" not in shown


SEQUENTIAL = """\
title: Until it is settled
seeds: auto
max_seeds: 8
protocol: {max_epochs: 1, batch_size: 64, val_size: 30}
runs:
  ELU:
    model: {variant: {class_path: ELU, init_args: {depth: 1, width: 4}}}
  same:
    model: {variant: {class_path: ELU, init_args: {depth: 1, width: 4}}}
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


@pytest.mark.slow
def test_a_ray_cluster_of_two_workers_gives_the_same_results(
    lit_cifar: Run, arguments: list[object], workspace: Path
) -> None:
    pytest.importorskip("ray")
    options = [str(argument) for argument in arguments]
    command = [sys.executable, "-m", "lit_cifar", "compare", *options]
    subprocess.run([*command, "--ray", "local", "--workers", "2", "--output", "on_ray"], check=True, timeout=300)  # noqa: S603
    assert lit_cifar("compare", *arguments, "--workers", 0, "--output", "here")[0] == 0
    pd.testing.assert_frame_equal(results(workspace / "on_ray"), results(workspace / "here"))
    written = [
        sorted(path.relative_to(folder) for path in folder.rglob("*") if not path.name.startswith("events"))
        for folder in (workspace / "on_ray/runs", workspace / "here/runs")
    ]
    assert written[0] == written[1]


def test_ray_is_asked_for_where_it_is_missing(
    lit_cifar: Run, arguments: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = lit_cifar("compare", *arguments, "--ray", "auto")
    assert code == 1
    assert "pip install 'lit-cifar[ray]'" in err


def test_a_cluster_that_is_not_there_is_noticed_before_any_work(
    lit_cifar: Run, arguments: list[object], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # Ray itself would try for more than a minute
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert "Ray is not installed" in lit_cifar("compare", *arguments, "--ray", address)[2]
    code, out, err = lit_cifar("compare", *arguments, "--ray", address, "--output", "nothing")
    assert (code, out) == (1, "")
    assert re.fullmatch(f"lit-cifar: error: No Ray cluster answers at '{address}': .*refused.*\n", err)
    assert not (workspace / "nothing").exists()


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

"""Studies whose processes, workers or disks fail, and two studies at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lit_cifar.study import folders
from lit_cifar.utils.errors import UserError
from tests.study.tiny_study import Run, results


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
    for folder in (interrupted, workspace / "whole"):  # 3: one of its runs explodes
        assert subprocess.run([*command, "--output", folder], check=False, timeout=300).returncode == 3  # noqa: S603
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
    with folders.alone_in(tmp_path):
        with pytest.raises(UserError, match=rf"\(process {os.getpid()} on "), folders.alone_in(tmp_path):
            pass
        (tmp_path / ".lock.pid").unlink()  # as in the moment between the lock and the file
        with pytest.raises(UserError, match=r"\(process unknown\)"), folders.alone_in(tmp_path):
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

"""Whole studies of stacks: killed twice, and beside worker processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.replicas.test_engine import TIMES

KILLED = """\
title: Killed
seeds: 4
protocol: {max_epochs: 15, batch_size: 16, val_size: 30, mc_samples: 5, patience: 15}
runs:
  AlphaDropout:
    model: {variant: {class_path: AlphaDropout, init_args: {depth: 2, width: 8}}}
"""


@pytest.mark.slow
def test_a_study_of_stacks_killed_twice_equals_an_uninterrupted_one(workspace: Path, pictures: Path) -> None:
    (workspace / "killed.yaml").write_text(KILLED)
    data = ["--data.source", "folder", "--data.data_dir", pictures]
    options = ["--study", "killed.yaml", *data, "--replicas", 2, "--workers", 0]
    command = [sys.executable, "-m", "lit_cifar", "compare", *map(str, options), "--output"]
    saved: list[float] = []
    for _ in range(2):
        process = subprocess.Popen([*command, "killed"], stdout=subprocess.DEVNULL)  # noqa: S603
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            times = [path.stat().st_mtime for path in workspace.glob("killed/stacks/*/stack.ckpt")]
            if times and max(times) not in saved:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        saved += times
    assert len(saved) > 1
    for folder in ("killed", "whole"):
        subprocess.run([*command, folder], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    killed, whole = (
        pd.read_csv(workspace / folder / "results.csv")
        .sort_values(["run", "seed"])
        .drop(columns=list(TIMES), errors="ignore")
        for folder in ("killed", "whole")
    )
    times_of_tests = [column for column in whole if column.endswith("seconds")]
    pd.testing.assert_frame_equal(killed.drop(columns=times_of_tests), whole.drop(columns=times_of_tests))


SIDE_BY_SIDE = """\
title: Side by side
seeds: 4
protocol: {max_epochs: 6, batch_size: 64, val_size: 200, train_size: 600, mc_samples: 5, patience: 3}
runs:
  ELU:
    model: {variant: {class_path: ELU, init_args: {depth: 2, width: 16}}}
  BatchNorm:
    model: {variant: {class_path: BatchNorm, init_args: {depth: 2, width: 16}}}
questions:
  - {ask: "Is it better?", treatment: BatchNorm, baseline: ELU}
  - {ask: "Sooner?", treatment: BatchNorm, baseline: ELU, measure: epochs_to_reach}
"""


@pytest.mark.slow
def test_a_study_of_stacks_comes_to_the_verdicts_of_worker_processes(workspace: Path) -> None:
    (workspace / "side.yaml").write_text(SIDE_BY_SIDE)
    command = [sys.executable, "-m", "lit_cifar", "compare", "--study", "side.yaml", "--data.source", "synthetic"]
    for folder, ways in (("stacks", ["--replicas", "8"]), ("workers", ["--replicas", "0", "--workers", "2"])):
        subprocess.run([*command, *ways, "--output", folder], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    stacks, workers = (
        pd.read_csv(workspace / folder / "results.csv").sort_values(["run", "seed"], ignore_index=True)
        for folder in ("stacks", "workers")
    )
    exact = ["run", "variant", "seed", "lr", "status", "epochs", "best_epoch", "parameters", "zeros"]
    pd.testing.assert_frame_equal(stacks[exact], workers[exact])
    close = ["val_loss", "val_acc", "test_acc", "test_nll"]
    pd.testing.assert_frame_equal(stacks[close], workers[close], rtol=1e-3, atol=2e-3)
    assert stacks["stack_size"].tolist() == [4] * 8
    answers = [
        [line for line in (workspace / folder / "report.md").read_text().splitlines() if "Is it better?" in line]
        for folder in ("stacks", "workers")
    ]
    assert answers[0]
    assert [line.partition("±")[0] for line in answers[0]] == [line.partition("±")[0] for line in answers[1]]

"""Two processes on one machine have the results of one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

pytestmark = pytest.mark.slow
TWO = ("--trainer.strategy", "ddp", "--trainer.devices", 2)
LIT_CIFAR = (sys.executable, "-m", "lit_cifar")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "lit_cifar")


def start(*arguments: object, program: tuple[str, ...] = LIT_CIFAR) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    command = [*program, *map(str, arguments)]
    return subprocess.Popen(  # noqa: S603
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def run(*arguments: object, program: tuple[str, ...] = LIT_CIFAR) -> str:
    process = start(*arguments, program=program)
    try:
        out, _ = process.communicate(timeout=150)
    finally:
        process.kill()
    assert process.returncode == 0, out
    return out


def content(checkpoint: str | Path) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True)


def small(variant: str, batch_size: int, epochs: int) -> list[object]:
    network = ["--model.variant", variant, "--model.variant.depth", 2, "--model.variant.width", 16]
    return [*network, "--data.batch_size", batch_size, "--trainer.max_epochs", epochs]


@pytest.fixture
def options(on_pictures: list[object]) -> list[object]:
    """The tiny data set, without its batch size."""
    at = on_pictures.index("--data.batch_size")
    return [*on_pictures[:at], *on_pictures[at + 2 :]]


def test_fit_test_and_predict_agree_with_one_process(options: list[object], workspace: Path) -> None:
    run("fit", *small("ELU", 16, 2), *options)
    run("fit", *small("ELU", 8, 2), *options, *TWO)
    one, two = (Path(f"logs/fit/ELU/version_{version}") for version in (0, 1))
    weights = [content(folder / "checkpoints/last.ckpt")["state_dict"] for folder in (one, two)]
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)
    tables = [pd.read_csv(folder / "metrics.csv") for folder in (one, two)]
    assert tables[1][["train/loss", "val/loss"]].notna().sum().tolist() == [2, 2], "each epoch once"
    names = ["epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy"]
    pd.testing.assert_frame_equal(tables[0][names], tables[1][names], rtol=1e-3)
    events = [len(list(folder.glob("events.out.tfevents.*"))) for folder in (one, two)]
    assert events[0] == events[1], "the second process writes none"

    best = one / "checkpoints/best.ckpt"
    for version, processes in enumerate([(), TWO]):
        run("test", "--ckpt_path", best, *options, *processes)
        run("predict", "--ckpt_path", best, *options, *processes, "--predictions.output", f"{version}.csv")
    run("predict", "--ckpt_path", best, *options, *TWO, "--predictions.output", "torchrun.csv", program=TORCHRUN)
    scores = [json.loads(Path(f"logs/test/ELU/version_{version}/test.json").read_text()) for version in (0, 1)]
    assert scores[0]["scores"]["deterministic"] == pytest.approx(scores[1]["scores"]["deterministic"], rel=1e-5)
    predicted = [pd.read_csv(f"{name}.csv") for name in ("0", "1", "torchrun")]
    assert predicted[0]["path"].tolist() == list(range(24)), "every image exactly once"
    for table in predicted[1:]:
        pd.testing.assert_frame_equal(predicted[0], table, rtol=1e-5)


def test_sigterm_to_one_process_stops_both_and_the_run_ends_the_same(options: list[object], workspace: Path) -> None:
    command = ["fit", *small("AlphaDropout", 2, 12), *options, "--early_stopping.patience", 99, *TWO]
    run(*command)
    process = start(*command)
    last = Path("logs/fit/AlphaDropout/version_1/checkpoints/last.ckpt")
    while not last.is_file() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 143, out
    assert content(last)["global_step"] < 12 * 22
    run("fit", "--ckpt_path", last)
    states = [content(f"logs/fit/AlphaDropout/version_{version}/checkpoints/last.ckpt") for version in (0, 1)]
    torch.testing.assert_close(states[0]["state_dict"], states[1]["state_dict"], rtol=0, atol=0)
    assert states[0]["global_step"] == states[1]["global_step"] == 12 * 22

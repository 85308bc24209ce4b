"""A run that is stopped and continued ends like a run that was never stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning import Trainer, seed_everything

import variants
from lit_cifar.callbacks import HParamsRow
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training.module import LitClassifier
from tests.training.stopped_runs import (
    LAST,
    RUN,
    STEPS_PER_EPOCH,
    KilledError,
    Run,
    assert_equal_runs,
    happening,
    kill,
)

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.mark.parametrize("batch", [2 * STEPS_PER_EPOCH + 3, 4 * STEPS_PER_EPOCH - 1])
def test_a_killed_run_goes_back_to_the_last_epoch_and_ends_the_same(
    batch: int,
    uninterrupted: Path,
    options: list[str],
    lit_cifar: Run,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        happening(patch, kill, batch)
        with pytest.raises(KilledError):
            lit_cifar("fit", *options)
    assert torch.load(LAST, weights_only=True)["global_step"] == batch // STEPS_PER_EPOCH * STEPS_PER_EPOCH
    code, _, err = lit_cifar("fit", "--ckpt_path", "last")
    assert code == 0, err
    assert_equal_runs(RUN, uninterrupted)


@pytest.mark.parametrize("options", ["false", pytest.param("true", marks=pytest.mark.compiles)], indirect=True)
def test_a_signal_stops_after_the_step_saves_and_the_run_ends_the_same(
    uninterrupted: Path,
    options: list[str],
    lit_cifar: Run,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        happening(patch, lambda: os.kill(os.getpid(), signal.SIGTERM), STEPS_PER_EPOCH + 2)
        code, _, err = lit_cifar("fit", *options)
    assert code == 143
    assert "Stopped by SIGTERM in epoch 2;" in err
    assert f"lit-cifar fit --ckpt_path {LAST}" in err
    assert signal.getsignal(signal.SIGTERM) == handler
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH + 3
    Path("elsewhere").mkdir()
    moved = Path(shutil.move(RUN, "elsewhere/run"))
    code, _, err = lit_cifar("fit", "--ckpt_path", moved / "checkpoints/last.ckpt")
    assert code == 0, err
    assert_equal_runs(moved, uninterrupted)


def test_weights_of_double_precision_are_not_rounded_when_a_run_continues(pictures: Path, tmp_path: Path) -> None:
    def fit(epochs: int, ckpt_path: Path | None = None) -> LitClassifier:
        seed_everything(1, verbose=False)
        model = LitClassifier(variants.get("ELU")(depth=1, width=8))
        data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16, seed=1)
        quiet = {f"enable_{what}": False for what in ("checkpointing", "progress_bar", "model_summary")}
        trainer = Trainer(max_epochs=epochs, precision="64-true", logger=False, accelerator="cpu", **quiet)
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return model

    whole = fit(2).state_dict()
    fit(1)
    resumed = fit(2, tmp_path / "1.ckpt").state_dict()
    assert {name for name in whole if not torch.equal(whole[name], resumed[name])} == set()


def test_a_signal_in_the_last_step_of_an_epoch_waits_for_the_validation(
    options: list[str], lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        happening(patch, lambda: os.kill(os.getpid(), signal.SIGINT), STEPS_PER_EPOCH - 1)
        assert lit_cifar("fit", *options)[0] == 130
    metrics = pd.read_csv(RUN / "metrics.csv")
    assert metrics["val/loss"].notna().sum() == 1
    assert metrics["train/loss"].notna().sum() == 1
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH


def test_a_second_signal_stops_at_once(
    options: list[str], lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        happening(patch, twice, STEPS_PER_EPOCH + 2)
        assert lit_cifar("fit", *options)[0] == 130
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH


def test_more_signals_are_ignored_while_the_command_ends(
    options: list[str], lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        happening(patch, twice, STEPS_PER_EPOCH + 2)
        patch.setattr(HParamsRow, "on_exception", impatient)
        code, _, err = lit_cifar("fit", *options)
    assert code == 130
    assert "Traceback" not in err


def test_a_signal_before_the_first_step_says_that_nothing_is_saved(
    options: list[str], lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LitClassifier, "compile_training_step", lambda _: os.kill(os.getpid(), signal.SIGINT))
    code, _, err = lit_cifar("fit", *options)
    assert code == 130
    assert (
        err.splitlines()[-1] == "lit-cifar: error: Stopped by SIGINT before the first step; there is nothing to save."
    )


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_stops_a_run_unless_it_ignores_that(
    ignored: bool, options: list[str], lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with monkeypatch.context() as patch:
            happening(patch, lambda: os.kill(os.getpid(), signal.SIGHUP), 2)
            code, _, err = lit_cifar("fit", *options, "--trainer.max_epochs", 1)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert code == (0 if ignored else 129), err


@pytest.mark.slow
def test_two_trainings_do_not_share_a_folder(
    options: list[str], lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[tuple[int, str]] = []

    def again() -> None:
        process = [sys.executable, "-m", "lit_cifar", "fit", "--ckpt_path", str(LAST)]
        done = subprocess.run(process, capture_output=True, text=True, check=False)  # noqa: S603
        codes.append((done.returncode, done.stderr))

    with monkeypatch.context() as patch:
        happening(patch, again, STEPS_PER_EPOCH + 2)
        assert lit_cifar("fit", *options, "--trainer.max_epochs", 2)[0] == 0
    [(code, err)] = codes
    assert code == 1
    assert "Another training writes to" in err
    assert "Traceback" not in err


def test_sigterm_ends_a_prediction(
    uninterrupted: Path, pictures: Path, lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LitClassifier, "predict_step", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    options = ["--predictions.output", "out.csv", "--data.pictures", pictures / "test"]
    code, _, err = lit_cifar("predict", "--ckpt_path", uninterrupted / "checkpoints/best.ckpt", *options)
    assert code == 143
    assert "Stopped by SIGTERM" in err
    assert not Path("out.csv").exists()

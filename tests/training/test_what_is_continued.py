"""Which runs can be continued, with which options, and what a finished run does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from lit_cifar.commands.continued_run import find_continued
from lit_cifar.training.metrics import LossAndAccuracy
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


def test_a_run_that_early_stopping_has_ended_ends_after_its_least_epochs(
    options: list[str], lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Early stopping decides after the second epoch; it forgets that when a later epoch is better."""
    long = ["--trainer.min_epochs", 4, "--trainer.max_epochs", 9, "--early_stopping.patience", 1]
    long += ["--early_stopping.min_delta", 0, "--model.scheduler", "null"]
    losses = iter([9.0, 1.0, 2.0, 0.5, 0.4, 0.3, 0.2, 0.1])  # the first is the sanity check's
    original = LossAndAccuracy.compute

    def compute(metric: LossAndAccuracy) -> dict[str, torch.Tensor]:
        found = original(metric)
        return found | ({"loss": torch.tensor(next(losses))} if metric is validated[0] else {})

    validated: list[LossAndAccuracy] = []
    monkeypatch.setattr(LitClassifier, "on_fit_start", lambda model: validated.insert(0, model.val_metric))
    monkeypatch.setattr(LossAndAccuracy, "compute", compute)
    with monkeypatch.context() as patch:
        happening(patch, kill, 3 * STEPS_PER_EPOCH + 1)
        with pytest.raises(KilledError):
            lit_cifar("fit", *options, *long)
    losses = iter([9.0, 0.4, 0.3, 0.2, 0.1])
    code, _, err = lit_cifar("fit", "--ckpt_path", "last")
    assert code == 0, err
    assert torch.load(LAST, weights_only=True)["epoch"] == 3


def test_a_run_that_can_not_be_continued_so_keeps_its_options(
    options: list[str], lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        happening(patch, kill, STEPS_PER_EPOCH + 1)
        with pytest.raises(KilledError):
            lit_cifar("fit", *options)
    config = (RUN / "config.yaml").read_text()
    code, _, err = lit_cifar("fit", "--ckpt_path", "last", "--trainer.max_epochs", 9)
    assert code == 1
    assert "leave max_epochs as it was" in err
    assert (RUN / "config.yaml").read_text() == config


@pytest.fixture
def finished(uninterrupted: Path, workspace: Path) -> Path:
    """A copy of the finished run, where it would be."""
    return Path(shutil.copytree(uninterrupted, RUN))


def test_a_finished_run_has_nothing_left_to_do(finished: Path, uninterrupted: Path, lit_cifar: Run) -> None:
    code, _, err = lit_cifar("fit", "--ckpt_path", "last")
    assert code == 0, err
    assert_equal_runs(finished, uninterrupted)


def test_a_run_that_has_stopped_early_stays_stopped(finished: Path, uninterrupted: Path, lit_cifar: Run) -> None:
    content = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)
    early_stopping = next(state for key, state in content["callbacks"].items() if key.startswith("EarlyStopping"))
    early_stopping |= {"wait_count": 3, "patience": 3}
    torch.save(content, finished / "checkpoints/last.ckpt")
    code, _, err = lit_cifar("fit", "--ckpt_path", "last", "--model.variant", "AlphaDropout")
    assert code == 0, err
    assert len(pd.read_csv(finished / "metrics.csv")) == len(pd.read_csv(uninterrupted / "metrics.csv"))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--model.variant.rate", "0.3"], "--model.variant.init_args.rate 0.3 can't continue"),
        (["--model.learning_rate", "0.3"], "--model.learning_rate 0.3 can't continue"),
        (["--data.batch_size", "10"], "--data.batch_size 10 can't continue"),
        (["--trainer.max_epochs", "9"], "one-cycle run ends where it was planned to end"),
        (["--trainer.max_epochs", "2"], "max_epochs"),
        (["--model.variant", "ELU"], "no logs/fit/ELU/*/checkpoints/last.ckpt"),
    ],
)
def test_what_can_not_be_continued(typed: list[str], message: str, finished: Path, lit_cifar: Run) -> None:
    before = (finished / "checkpoints/last.ckpt").read_bytes()
    code, _, err = lit_cifar("fit", "--ckpt_path", "last", *typed)
    assert code == 1
    assert message in err
    assert err.count("lit-cifar: error:") == 1
    assert (finished / "checkpoints/last.ckpt").read_bytes() == before


def test_there_must_be_something_to_continue(uninterrupted: Path, lit_cifar: Run, workspace: Path) -> None:
    shutil.copy(uninterrupted / "checkpoints/last.ckpt", "last.ckpt")
    for given, message in {
        "last": "there is nothing to continue",
        "nowhere.ckpt": "There is no checkpoint nowhere.ckpt",
        "last.ckpt": "A run is continued in its own folder",
    }.items():
        code, _, err = lit_cifar("fit", "--ckpt_path", given, "--model.variant", "ELU")
        assert code == 1
        assert message in err
        assert not Path("logs").exists()


def test_last_is_the_newest(workspace: Path) -> None:
    for age, run in enumerate(["fit/SELU/version_1", "fit/SELU/version_0", "fit/ELU/version_5"]):
        path = Path(run) / "checkpoints/last.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        (Path(run) / "config.yaml").touch()
        os.utime(path, (1000 - age, 1000 - age))
    last = ["fit", "--ckpt_path", "last"]
    assert find_continued(last, Path("fit")) == Path("fit/SELU/version_1/checkpoints/last.ckpt")
    elu = find_continued([*last, "--model.variant=variants.ELU"], Path("fit"))
    assert elu == Path("fit/ELU/version_5/checkpoints/last.ckpt")
    without_config = Path("fit/SELU/version_9/checkpoints/last.ckpt")  # as a run from Python leaves it
    without_config.parent.mkdir(parents=True)
    without_config.touch()
    assert find_continued(last, Path("fit")) == Path("fit/SELU/version_1/checkpoints/last.ckpt")
    assert find_continued(["fit"], Path("fit")) is None
    assert find_continued(["test", "--ckpt_path", "last"], Path("fit")) is None

"""A run that is stopped and continued ends as one that never was."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from lightning import Callback, LightningModule, Trainer

from lit_cifar.__main__ import main
from lit_cifar.callbacks import HParamsRow, StopOnNonFiniteLoss
from lit_cifar.commands.continued_run import find_continued
from lit_cifar.training.metrics import LossAndAccuracy
from lit_cifar.training.module import LitClassifier

pytestmark = pytest.mark.usefixtures("no_figures")
Run = Callable[..., tuple[int, str, str]]
STEPS_PER_EPOCH = 6  # of the 90 images that are left for training, in batches of 16
RUN = Path("logs/fit/AlphaDropout/version_0")
LAST = RUN / "checkpoints/last.ckpt"


class Happens(Callback):
    """Does something after a number of batches."""

    def __init__(self, action: Callable[[], object], batch: int) -> None:
        self.action = action
        self.batch = batch

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.batch:
            self.action()


class KilledError(RuntimeError):
    """Stands for SIGKILL, after which nothing of ours runs."""


def kill() -> None:
    raise KilledError


@pytest.fixture(scope="module")
def options(request: pytest.FixtureRequest, pictures: Path) -> list[str]:
    """Four epochs with everything random that there is; the parameter is --model.compile."""
    network = "--model.variant AlphaDropout --model.variant.depth 2 --model.variant.width 16"
    zeros = "--model.sparsity 0.5 --model.l1 1e-3 --model.max_norm 1"
    training = "--model.scheduler one_cycle --trainer.max_epochs 4 --early_stopping.patience 3"
    data = f"--data.source folder --data.data_dir {pictures} --data.val_size 30 --data.batch_size 16"
    augmentation = "--data.flip true --data.crop_padding 2 --data.cutout 8 --data.mixup 0.2"
    quiet = "--trainer.accelerator cpu --trainer.enable_progress_bar false --trainer.enable_model_summary false"
    compiled = f"--model.compile {getattr(request, 'param', 'false')}"
    return " ".join([network, zeros, training, data, augmentation, quiet, compiled]).split()


@pytest.fixture(scope="module")
def uninterrupted(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        torch.set_num_threads(1)
        assert main(["fit", *options]) == 0
    return folder / RUN


def happening(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object], batch: int) -> None:
    """Let something happen once, after a batch."""
    waiting = Happens(action, batch)
    monkeypatch.setattr(StopOnNonFiniteLoss, "on_train_batch_end", lambda _, *args: waiting.on_train_batch_end(*args))


def assert_equal_runs(one: Path, other: Path) -> None:
    """Weights, optimizer, early stopping, best checkpoint, random numbers and metrics, bit for bit."""
    for name in ("last", "best"):
        contents = [torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True) for run in (one, other)]
        for content in contents:
            callbacks = content.pop("callbacks")
            content["early_stopping"] = [v for k, v in callbacks.items() if k.startswith("EarlyStopping")]
            content["best"] = [v["best_model_score"] for v in callbacks.values() if "best_model_score" in v]
        assert plain(contents[0]) == plain(contents[1])
    tables = [
        pd.read_csv(run / "metrics.csv").drop(columns=["train/seconds", "train/images_per_second"])
        for run in (one, other)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def plain(content: Any) -> Any:
    """Tensors as lists, so that `==` compares what is in them."""
    if isinstance(content, torch.Tensor):
        return content.tolist()
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    return [plain(item) for item in content] if isinstance(content, (list, tuple)) else content


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
    assert "Stopped by SIGTERM in epoch 1" in err
    assert f"lit-cifar fit --ckpt_path {LAST}" in err
    assert signal.getsignal(signal.SIGTERM) == handler
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH + 3
    Path("elsewhere").mkdir()
    moved = Path(shutil.move(RUN, "elsewhere/run"))
    code, _, err = lit_cifar("fit", "--ckpt_path", moved / "checkpoints/last.ckpt")
    assert code == 0, err
    assert_equal_runs(moved, uninterrupted)


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


def test_sigterm_ends_a_prediction(
    uninterrupted: Path, pictures: Path, lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LitClassifier, "predict_step", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    options = ["--predictions.output", "out.csv", "--data.pictures", pictures / "test"]
    code, _, err = lit_cifar("predict", "--ckpt_path", uninterrupted / "checkpoints/best.ckpt", *options)
    assert code == 143
    assert "Stopped by SIGTERM" in err
    assert not Path("out.csv").exists()


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
    assert find_continued(["fit"], Path("fit")) is None
    assert find_continued(["test", "--ckpt_path", "last"], Path("fit")) is None


@pytest.mark.parametrize(("problem", "says"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system")])
def test_a_disk_that_is_full_or_read_only_leaves_the_last_good_files(
    problem: int,
    says: str,
    options: list[str],
    lit_cifar: Run,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write_bytes(path: Path, content: bytes) -> int:
        if "last" in path.name and LAST.is_file():
            with path.open("wb") as file:
                file.write(content[:1000])
            raise OSError(problem, os.strerror(problem), str(path))
        return original(path, content)

    original = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    code, _, err = lit_cifar("fit", *options)
    assert code == 1
    assert says in err
    assert "Traceback" not in err
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH
    assert {path.name for path in LAST.parent.iterdir()} == {"last.ckpt", "best.ckpt"}


@pytest.mark.parametrize(
    "largest", [1_000, 400_000], ids=["not even TensorBoard's events fit", "only checkpoints are too large"]
)
def test_files_that_may_not_grow_leave_the_last_good_ones(
    largest: int,
    uninterrupted: Path,
    options: list[str],
    lit_cifar: Run,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource")  # Windows has none
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        happening(patch, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard)), STEPS_PER_EPOCH + 2)
        try:
            code, _, err = lit_cifar("fit", *options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert err.count("\n") == 1
    assert "File too large. Make room" in err
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH
    code, _, err = lit_cifar("fit", "--ckpt_path", "last")
    assert code == 0, err
    assert_equal_runs(RUN, uninterrupted)


FILLS_THE_DISK = """
import sys
from contextlib import suppress
from pathlib import Path
from lit_cifar.__main__ import main
from lit_cifar.training.module import LitClassifier

calls, original = int(sys.argv[1]), LitClassifier.training_step

def training_step(self, *args):
    global calls
    calls -= 1
    if not calls:
        with suppress(OSError):
            Path("logs/filler").write_bytes(bytes(32 << 20))
    return original(self, *args)

LitClassifier.training_step = training_step
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_a_really_full_disk_leaves_the_last_good_files(
    uninterrupted: Path,
    options: list[str],
    lit_cifar: Run,
    on_a_small_disk: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = on_a_small_disk(sys.executable, "-c", FILLS_THE_DISK, STEPS_PER_EPOCH + 2, "fit", *options)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("lit-cifar: error: No space left on device. Make room")
    assert "Traceback" not in done.stderr
    assert torch.load(LAST, weights_only=True)["global_step"] == STEPS_PER_EPOCH
    assert {path.name for path in LAST.parent.iterdir()} == {"last.ckpt", "best.ckpt"}
    code, _, err = lit_cifar("fit", "--ckpt_path", "last")
    assert code == 0, err
    assert_equal_runs(RUN, uninterrupted)


KILLS_ITSELF = """
import os, pathlib, signal, sys
from lit_cifar.__main__ import main
from lit_cifar.training.module import LitClassifier

where, calls = sys.argv[1], int(sys.argv[2])

def counted(original):
    def call(self, *args):
        global calls
        calls -= 1
        if not calls:
            if where == "write_bytes":
                original(self, bytes(args[0])[:10_000])
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args)
    return call

owner = LitClassifier if hasattr(LitClassifier, where) else pathlib.Path
setattr(owner, where, counted(getattr(owner, where)))
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_the_same(uninterrupted: Path, options: list[str], workspace: Path) -> None:
    def run(where: str, calls: int, *arguments: str) -> int:
        command = [sys.executable, "-c", KILLS_ITSELF, where, str(calls), "fit", *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        result = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603
        print(result.stderr.decode())
        return result.returncode

    assert run("training_step", STEPS_PER_EPOCH + 2, *options) == -signal.SIGKILL
    continued = ["--ckpt_path", "last"]
    for where, calls in [("validation_step", 2), ("write_bytes", 2), ("replace", 3), ("on_train_epoch_end", 2)]:
        assert run(where, calls, *continued) == -signal.SIGKILL, where
    assert run("training_step", 1000, *continued) == 0
    assert_equal_runs(RUN, uninterrupted)
    assert {path.name for path in LAST.parent.iterdir()} == {"last.ckpt", "best.ckpt"}

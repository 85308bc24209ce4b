"""What runs cost in seconds: each is timed alone, a few epochs at a time, in turn with the others.

Runs that train side by side, in worker processes or as a stack, disturb each other. Their own seconds answer nothing.
So before its seeds are trained, a study times its runs in this process, one after the other, for several rounds. Runs
of the same round are paired: what disturbs the machine for a minute then disturbs both. If this leaves a question about
seconds open, its runs get more rounds after the seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning import LightningModule, Trainer
from torch import nn

from lit_cifar.callbacks import EpochTime
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.evaluation import predict, predict_by_mc
from lit_cifar.study.finished import Row
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.run_parts import build_callbacks, trainer_options
from lit_cifar.study.schema import Study
from lit_cifar.training.module import LitClassifier
from lit_cifar.uncertainty import can_be_sampled

EPOCHS = 4
"""Epochs of a round. The quickest counts: the first one warms up, and a machine disturbs some of the others."""

IMAGES, MC_IMAGES, OF_IMAGES, PASSES = 1_000, 200, 10_000, 3
"""Prediction is timed on so many images, by MC dropout on fewer, and given for 10,000. One pass takes so little that
the quickest of three counts."""

COLUMNS = ("run", "round", "seconds_per_epoch", "test_seconds", "mc_test_seconds", "cpu_share")
"""The columns of `timings.csv`."""


def timed_runs(study: Study) -> list[str]:
    """The runs that are timed: those of questions about seconds, or all."""
    about_time = [question for question in study.questions if MEASURES[question.measure].timed]
    names = {name for question in about_time for name in (question.treatment, question.baseline)}
    return [name for name in study.runs if study.time_all_runs or name in names]


def in_turn(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """The runs round by round, every other round backwards, so that none is always timed after the same one."""
    runs = list(runs)
    rounds = {number: [run for run in runs if run.seed == number] for number in sorted({run.seed for run in runs})}
    return [run for number, row in rounds.items() for run in (reversed(row) if number % 2 else row)]


def timings_table(rows: Iterable[Row]) -> pd.DataFrame:
    """The rounds of the runs that could be timed, a row each."""
    ok = [{**row, "round": row["seed"]} for row in rows if row["status"] == "ok"]
    return pd.DataFrame(ok).reindex(columns=list(COLUMNS))


def time_run(run: PlannedRun, folder: Path, model: LitClassifier, data: CIFAR10DataModule) -> Row:
    """Train some epochs and predict, alone.

    Args:
        run: Which run; its seed is the round.
        folder: Where the Trainer may write.
        model: Its classifier.
        data: Its images. Test images aren't read: their content doesn't change what a prediction takes.

    Returns:
        Seconds per epoch, without validation; seconds for the prediction of 10,000 images; and the share of a core
        that training had, which is less than 1 if other programs were at work.
    """
    clock = _Stopwatch()
    trainer = Trainer(
        max_epochs=run.protocol.max_epochs,  # the schedule depends on it, and whether the step is compiled
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1,
        callbacks=[clock, *build_callbacks(run.callbacks)],
        **trainer_options(run.trainer),
    )
    trainer.fit(model, datamodule=data)
    network: nn.Module = model.network  # type: ignore[assignment]
    shape = next(iter(data.val_dataloader()))[0].shape[1:]
    return {
        "lr": model.learning_rate,
        "seconds_per_epoch": round(min(clock.seconds), 4),
        "cpu_share": round(min(1.0, clock.processor_seconds / sum(clock.seconds)), 3),
        **_prediction(network, trainer.strategy.root_device, shape, samples=run.protocol.mc_samples),
    }


class _Stopwatch(EpochTime):
    """Keeps the seconds of the first epochs and ends the training after them."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.processor_seconds = 0.0
        self._processor_started = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self._processor_started = time.process_time()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.processor_seconds += time.process_time() - self._processor_started
        self.seconds.append(self._seconds)
        trainer.should_stop = len(self.seconds) >= EPOCHS


def _prediction(network: nn.Module, device: torch.device, shape: torch.Size, *, samples: int) -> Row:
    """The seconds that predictions take on the device of the training; Lightning leaves networks on the CPU."""
    network = network.eval().to(device)
    images = torch.randint(256, (IMAGES, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = images.to(device)
    times = [_seconds_of(lambda: predict(network, images)) for _ in range(PASSES)]
    found = {"test_seconds": min(times) / IMAGES}
    if samples and can_be_sampled(network, images):
        passes = 1 if device.type == "cpu" else PASSES  # an accelerator loads its kernels in the first one
        mc_times = [
            _seconds_of(lambda: predict_by_mc(network, images[:MC_IMAGES], samples=samples)) for _ in range(passes)
        ]
        found["mc_test_seconds"] = min(mc_times) / MC_IMAGES
    return {name: round(per_image * OF_IMAGES, 4) for name, per_image in found.items()}


def _seconds_of(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    found = work()
    for values in found.values():
        values.cpu()  # waits for an accelerator
    return time.perf_counter() - started

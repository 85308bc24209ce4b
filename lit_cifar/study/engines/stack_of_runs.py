"""Runs that are trained as one stack: their training, their files and their rows."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.normalization import Scale
from lit_cifar.replicas.artifacts import BEST, BEST_BY_ACCURACY, write_artifacts
from lit_cifar.replicas.network import NotStackableError
from lit_cifar.replicas.replica import Replica
from lit_cifar.replicas.stack import TrainedReplica, train_stack
from lit_cifar.study.engines.base import FinishedRun
from lit_cifar.study.engines.stacked_search import stacked_data
from lit_cifar.study.engines.stacked_test import predict_all
from lit_cifar.study.final_test import Predicted, finish
from lit_cifar.study.finished import Row, keep
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.rows import NO_DISK, failed, row_of
from lit_cifar.study.run import Report, builder_of, model_and_data, one_thread
from lit_cifar.study.run_parts import trainer_options
from lit_cifar.study.schema import Protocol
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.run_folder import CHECKPOINTS
from lit_cifar.utils.console import say
from lit_cifar.utils.files import emptied, write_text

STACKS = "stacks"
"""Folder, in the study's folder, of the stacks that are being trained."""

PLANS = "stack.json"
"""The file, in a stack's folder, that says which runs are in it."""


class StackOfRuns:
    """Runs that are trained as one stack, and the folder in which it is saved.

    Args:
        runs: The runs. They differ only in seed and learning rate.
        study_folder: Folder of the study.
        wanted: The runs whose rows are wanted. In a stack that was interrupted at its end, the others are finished.
            Default: all.
    """

    def __init__(
        self, runs: Sequence[PlannedRun], study_folder: Path, wanted: Sequence[PlannedRun] | None = None
    ) -> None:
        self.runs = sorted(runs, key=lambda run: (str(run.protocol.learning_rate), run.seed))
        self.wanted = self.runs if wanted is None else list(wanted)
        self.study_folder = study_folder
        digest = hashlib.sha256("".join(map(run_key, self.runs)).encode()).hexdigest()[:16]
        self.folder = study_folder / STACKS / digest
        self.seconds = 0.0
        self._builders: dict[float | str, Callable[[], LitClassifier]] = {}

    @property
    def name(self) -> str:
        """The name of its runs."""
        return self.runs[0].name

    @property
    def checkpoint(self) -> Path:
        """The file to which it is saved."""
        return self.folder / "stack.ckpt"

    @one_thread()
    def train(self, report: Report) -> Sequence[TrainedReplica]:
        """Train the stack, or resume its training if it was saved.

        Raises:
            NotStackableError: If the runs can't be trained in a stack.
        """
        first = self.runs[0]
        if first.callbacks:
            raise NotStackableError("it has callbacks of its own, which follow one network.")
        self._write_plans()
        by_label = {run.label: run for run in self.runs}
        started = time.perf_counter()
        trained = train_stack(
            lambda replica: self._model_and_data(by_label[replica.label])[0],
            self._replicas(),
            stacked_data(first, [run.seed for run in self.runs]),
            max_epochs=first.protocol.max_epochs,
            patience=first.protocol.patience,
            checkpoint=self.checkpoint,
            report=report,
            **trainer_options(first.trainer),
        )
        self.seconds = round(time.perf_counter() - started, 3)
        return trained

    def finish(self, trained: Sequence[TrainedReplica]) -> Iterator[FinishedRun]:
        """Write the files of each run, test it, and yield its row. At the end the stack's folder is deleted."""
        wanted = {run_key(run) for run in self.wanted}
        predicted = self._predicted(trained)
        for place, (run, of_run) in enumerate(zip(self.runs, trained, strict=True)):
            if run_key(run) in wanted:
                row = self._finish(run, of_run, predicted.get(place))
                row |= {"stack_size": len(self.runs), "stack_seconds": self.seconds}
                keep(row, run, self.study_folder / run.folder)
                yield run, row, True
        self.delete()

    def halves(self) -> list[StackOfRuns]:
        """Two smaller stacks of the runs that are wanted, in place of this one."""
        self.delete()
        half = (len(self.wanted) + 1) // 2
        return [StackOfRuns(part, self.study_folder) for part in (self.wanted[:half], self.wanted[half:]) if part]

    def delete(self) -> None:
        """Delete its folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _model_and_data(self, run: PlannedRun) -> tuple[LitClassifier, CIFAR10DataModule]:
        """A new model of a run, and its data. Descriptions are parsed once for each learning rate."""
        rate = run.protocol.learning_rate
        if rate not in self._builders:
            self._builders[rate] = builder_of(run)
        return model_and_data(run, self._builders[rate])

    def _replicas(self) -> list[Replica]:
        learning_rates = {
            run.protocol.learning_rate: self._model_and_data(run)[0].learning_rate
            for run in {run.protocol.learning_rate: run for run in self.runs}.values()
        }
        return [Replica(run.label, run.seed, learning_rates[run.protocol.learning_rate]) for run in self.runs]

    def _finish(self, run: PlannedRun, trained: TrainedReplica, predicted: Predicted | None) -> Row:
        """Write the files of a trained run and test it. The row of a run that has failed says why."""
        folder = emptied(self.study_folder / run.folder)
        row = row_of(run, folder, lambda: self._write_and_test(run, trained, folder, predicted))
        return failed(run, trained.training.failure) if trained.training.failure else row

    @one_thread()
    def _write_and_test(
        self, run: PlannedRun, trained: TrainedReplica, folder: Path, predicted: Predicted | None
    ) -> Row:
        model, data = self._model_and_data(run)
        model.build(data.class_names, Scale.empty(data.image_shape))
        write_artifacts(trained, folder, model, data)
        if trained.training.failure:
            return {}
        best, by_accuracy = (folder / CHECKPOINTS / name for name in (BEST, BEST_BY_ACCURACY))
        return finish(run, folder, model, data, best, by_accuracy, _device(), predicted)

    def _write_plans(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        plans = [{**run.to_dict(), "made_from": dict(run.made_from)} for run in self.runs]
        write_text(self.folder / PLANS, json.dumps(plans))

    def _predicted(self, trained: Sequence[TrainedReplica]) -> Mapping[int, Predicted]:
        """The predictions for the test images by place; none if they can't be computed for all networks at once."""
        try:
            return predict_all(self.runs, trained, _device())
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            say(f"{self.name}: tested one by one: {reason_of(error)}")
            return {}


def interrupted_stacks(runs: Sequence[PlannedRun], study_folder: Path) -> list[StackOfRuns]:
    """The stacks with these runs that were saved by an earlier call.

    Stacks whose runs would be others today are deleted, and those that weren't saved.
    """
    by_key = {run_key(run): run for run in runs}
    keys = {run.label: run_key(run) for run in runs}
    stacks = []
    for path in sorted((study_folder / STACKS).glob(f"*/{PLANS}")):
        members = _read_plans(path)
        wanted = [by_key[run_key(run)] for run in members if run_key(run) in by_key]
        stack = StackOfRuns(members, study_folder, wanted)
        is_old = any(keys.get(run.label, run_key(run)) != run_key(run) for run in members)
        if not members or is_old or stack.folder != path.parent or not stack.checkpoint.is_file():
            shutil.rmtree(path.parent, ignore_errors=True)
        elif wanted:
            stacks.append(stack)
    return stacks


def run_key(run: PlannedRun) -> str:
    """Changes with the run's plan, its data and its code."""
    return f"{run.fingerprint} {json.dumps(dict(run.made_from), sort_keys=True)}"


def reason_of(error: Exception) -> str:
    """Why something can't be done in a stack, in one line.

    Raises:
        OSError: If the disk is full or read-only, so that nothing else could be done either.
    """
    if isinstance(error, OSError) and error.errno in NO_DISK:
        raise error
    if isinstance(error, NotStackableError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _read_plans(path: Path) -> list[PlannedRun]:
    try:
        plans: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return [PlannedRun(**{**plan, "protocol": Protocol(**plan["protocol"])}) for plan in plans]
    except (ValueError, TypeError, KeyError):  # damaged, or of another version
        return []


def _device() -> torch.device:
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")

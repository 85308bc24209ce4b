"""Runs of a study trained side by side: all seeds of a run are one stacked network on one device."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lit_cifar.data.normalization import Scale
from lit_cifar.replicas.artifacts import BEST, BEST_BY_ACCURACY, write_artifacts
from lit_cifar.replicas.network import NotStackableError
from lit_cifar.replicas.replica import Replica
from lit_cifar.replicas.stack import TrainedReplica, train_stack
from lit_cifar.study.engines.base import Engine, FinishedRun
from lit_cifar.study.engines.stacked_search import search_in_stacks, stacked_data
from lit_cifar.study.engines.stacked_test import predict_all
from lit_cifar.study.final_test import Predicted, finish
from lit_cifar.study.finished import Row, keep
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.rows import NO_DISK, failed, row_of
from lit_cifar.study.run import Report, model_and_data, one_thread
from lit_cifar.study.run_parts import trainer_options
from lit_cifar.study.schema import Protocol
from lit_cifar.training.run_folder import CHECKPOINTS
from lit_cifar.utils.console import say
from lit_cifar.utils.files import write_text

STACKS = "stacks"
"""Folder, in a study's, of the stacks that are being trained."""

PLANS = "stack.json"
"""The file, in a stack's folder, that says which runs are in it."""


MOST_REPLICAS = 128
"""The most runs in a stack on a GPU: a 20×100 net takes 3 GB then, and more gain little per run."""


def default_replicas() -> int:
    """How many runs to train side by side here: as many as there are on a GPU, up to 128; none on a CPU."""
    return MOST_REPLICAS if torch.cuda.is_available() else 0


def run_in_stacks(
    runs: Sequence[PlannedRun], study_folder: Path, report: Report, *, replicas: int, others: Engine
) -> Iterator[FinishedRun]:
    """Do runs that differ only in seed and learning rate side by side, each as it would be alone.

    What can't be trained in a stack goes to another engine, with a line that says why. A search of a learning rate
    trains its rates and seeds side by side. When memory runs out, a stack is halved. A stack is saved as it goes, and
    a later call goes on from there.

    Args:
        runs: The runs.
        study_folder: The study's folder.
        report: Called after each epoch.
        replicas: The most runs in a stack.
        others: The engine for everything else.
    """
    searches = [run for run in runs if run.kind == "search"]
    yield from _search(searches, study_folder, report, replicas=replicas, others=others)
    for stack in _plan_stacks([run for run in runs if run.kind != "search"], study_folder, replicas):
        yield from _run_stack(stack, report, others)


def _search(
    runs: Sequence[PlannedRun], study_folder: Path, report: Report, *, replicas: int, others: Engine
) -> Iterator[FinishedRun]:
    left = []
    for run in runs:
        try:
            row = search_in_stacks(run, study_folder, report, replicas=replicas)
        except Exception as error:  # noqa: BLE001 - anybody's network
            say(f"{run.name}: not searched in stacks: {_reason(error)}")
            left.append(run)
        else:
            yield run, row, True
    if left:
        yield from others(left, study_folder, report)


def _run_stack(stack: _Stack, report: Report, others: Engine) -> Iterator[FinishedRun]:
    name = stack.runs[0].name
    try:
        trained = stack.train(report)
    except torch.OutOfMemoryError:
        if len(stack.runs) > 1:
            say(f"{name}: {len(stack.runs)} replicas don't fit into memory; it is tried with half as many.")
            for half in stack.halves():
                yield from _run_stack(half, report, others)
            return
        reason = "one network doesn't fit into memory."
    except Exception as error:  # noqa: BLE001 - anybody's network
        reason = _reason(error)
    else:
        yield from stack.finish(trained)
        return
    say(f"{name}: not trained in a stack: {reason}")
    shutil.rmtree(stack.folder, ignore_errors=True)
    yield from others(stack.wanted, stack.study_folder, report)


def _reason(error: Exception) -> str:
    """Why runs can't be trained in a stack.

    Raises:
        OSError: If it is a full or read-only disk, on which nothing else could be done either.
    """
    if isinstance(error, OSError) and error.errno in NO_DISK:
        raise error
    return (
        str(error)
        if isinstance(error, NotStackableError)
        else f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    )


class _Stack:
    """Runs that are trained as one stack, and its folder.

    Args:
        runs: The runs, alike but for seed and learning rate.
        study_folder: The study's folder.
        wanted: Those that are asked for; the others finished when the stack was interrupted. Default: all.
    """

    def __init__(
        self, runs: Sequence[PlannedRun], study_folder: Path, wanted: Sequence[PlannedRun] | None = None
    ) -> None:
        self.runs = sorted(runs, key=lambda run: (str(run.protocol.learning_rate), run.seed))
        self.wanted = self.runs if wanted is None else list(wanted)
        self.study_folder = study_folder
        digest = hashlib.sha256("".join(map(_key, self.runs)).encode()).hexdigest()[:16]
        self.folder = study_folder / STACKS / digest
        self.seconds = 0.0

    @property
    def checkpoint(self) -> Path:
        """Where it is saved."""
        return self.folder / "stack.ckpt"

    @one_thread()
    def train(self, report: Report) -> Sequence[TrainedReplica]:
        """Train it, or go on where it was saved.

        Raises:
            NotStackableError: if that can't be done in a stack.
        """
        protocol = self.runs[0].protocol
        if self.runs[0].callbacks:
            raise NotStackableError("it has callbacks of its own, which follow one network.")
        self.folder.mkdir(parents=True, exist_ok=True)
        plans = [{**run.to_dict(), "made_from": dict(run.made_from)} for run in self.runs]
        write_text(self.folder / PLANS, json.dumps(plans))
        data = stacked_data(self.runs[0], [run.seed for run in self.runs])
        by_label = {run.label: run for run in self.runs}
        started = time.perf_counter()
        trained = train_stack(
            lambda replica: model_and_data(by_label[replica.label])[0],
            [_replica(run) for run in self.runs],
            data,
            max_epochs=protocol.max_epochs,
            patience=protocol.patience,
            checkpoint=self.checkpoint,
            report=report,
            **trainer_options(self.runs[0].trainer),
        )
        self.seconds = round(time.perf_counter() - started, 3)
        return trained

    def finish(self, trained: Sequence[TrainedReplica]) -> Iterator[FinishedRun]:
        """Write what each run leaves, test it, and give its row; at the end the stack's folder goes."""
        wanted = {_key(run) for run in self.wanted}
        predicted = self._predicted(trained)
        for place, (run, of_run) in enumerate(zip(self.runs, trained, strict=True)):
            if _key(run) in wanted:
                row = _finish(run, of_run, self.study_folder / run.folder, predicted.get(place))
                row |= {"stack_size": len(self.runs), "stack_seconds": self.seconds}
                keep(row, run, self.study_folder / run.folder)
                yield run, row, True
        shutil.rmtree(self.folder, ignore_errors=True)

    def _predicted(self, trained: Sequence[TrainedReplica]) -> Mapping[int, Predicted]:
        """What the networks predict for the test images; nothing where that can't be computed at once."""
        try:
            return predict_all(self.runs, trained, _device())
        except Exception as error:  # noqa: BLE001 - anybody's network
            say(f"{self.runs[0].name}: tested one by one: {_reason(error)}")
            return {}

    def halves(self) -> list[_Stack]:
        """Two smaller stacks of the runs that are wanted."""
        shutil.rmtree(self.folder, ignore_errors=True)
        half = (len(self.wanted) + 1) // 2
        return [_Stack(part, self.study_folder) for part in (self.wanted[:half], self.wanted[half:]) if part]


def _plan_stacks(runs: Sequence[PlannedRun], study_folder: Path, size: int) -> list[_Stack]:
    """Interrupted stacks first, as they were; then the other runs, those together that are alike."""
    stacks = _interrupted(runs, study_folder)
    covered = {_key(run) for stack in stacks for run in stack.wanted}
    for group in alike([run for run in runs if _key(run) not in covered]):
        stacks += [_Stack(group[start : start + size], study_folder) for start in range(0, len(group), size)]
    return stacks


def _interrupted(runs: Sequence[PlannedRun], study_folder: Path) -> list[_Stack]:
    """The stacks of an earlier call that can go on; what can't is deleted."""
    by_key = {_key(run): run for run in runs}
    stacks = []
    for path in sorted((study_folder / STACKS).glob(f"*/{PLANS}")):
        members = _read_plans(path)
        wanted = [by_key[_key(run)] for run in members if _key(run) in by_key]
        stack = _Stack(members, study_folder, wanted)
        if wanted and stack.folder == path.parent and stack.checkpoint.is_file():
            stacks.append(stack)
        else:
            shutil.rmtree(path.parent, ignore_errors=True)
    return stacks


def _read_plans(path: Path) -> list[PlannedRun]:
    try:
        plans: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return [PlannedRun(**{**plan, "protocol": Protocol(**plan["protocol"])}) for plan in plans]
    except (ValueError, TypeError, KeyError):  # damaged, or of another version
        return []


def _finish(run: PlannedRun, trained: TrainedReplica, folder: Path, predicted: Predicted | None) -> Row:
    """Write a trained run's files and test it; a run that has failed is a row that says why."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    row = row_of(run, folder, lambda: _write_and_test(run, trained, folder, predicted))
    return failed(run, trained.training.failure) if trained.training.failure else row


@one_thread()
def _write_and_test(run: PlannedRun, trained: TrainedReplica, folder: Path, predicted: Predicted | None) -> Row:
    model, data = model_and_data(run)
    model.build(data.class_names, Scale.empty(data.image_shape))
    write_artifacts(trained, folder, model, data)
    if trained.training.failure:
        return {}
    best, by_accuracy = (folder / CHECKPOINTS / name for name in (BEST, BEST_BY_ACCURACY))
    return finish(run, folder, model, data, best, by_accuracy, _device(), predicted)


def _device() -> torch.device:
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _replica(run: PlannedRun) -> Replica:
    model, _ = model_and_data(run)
    return Replica(run.label, run.seed, model.learning_rate)


def alike(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Runs that differ only in seed and learning rate, together."""
    groups: dict[str, list[PlannedRun]] = defaultdict(list)
    for run in runs:
        plan = run.to_dict()
        plan["protocol"] = {key: value for key, value in plan["protocol"].items() if key != "learning_rate"}
        groups[json.dumps({**plan, "seed": 0, "made_from": dict(run.made_from)}, sort_keys=True)].append(run)
    return list(groups.values())


def _key(run: PlannedRun) -> str:
    """Changes with the run's plan, its data and its code."""
    return f"{run.fingerprint} {json.dumps(dict(run.made_from), sort_keys=True)}"

"""Executes the runs of a study in stacks: runs that differ only in seed and learning rate are trained side by side."""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from lit_cifar.replicas.memory import is_out_of_memory, release_memory
from lit_cifar.replicas.stack import TrainedReplica
from lit_cifar.study.engines.base import Engine, FinishedRun
from lit_cifar.study.engines.stack_of_runs import StackOfRuns, interrupted_stacks, reason_of, run_key
from lit_cifar.study.engines.stacked_search import search_in_stacks
from lit_cifar.study.plan import RATE_FACTORS, PlannedRun
from lit_cifar.study.run import Report
from lit_cifar.utils.console import say

MOST_REPLICAS = 128
"""The largest number of runs in a stack on a GPU. 20×100 nets take 3 GB then, and larger stacks gain little."""


def default_replicas() -> int:
    """The number of runs to train side by side on this machine: up to 128 on a CUDA GPU, none elsewhere."""
    return MOST_REPLICAS if torch.cuda.is_available() else 0


def run_in_stacks(
    runs: Sequence[PlannedRun], study_folder: Path, report: Report, *, replicas: int, others: Engine
) -> Iterator[FinishedRun]:
    """Train runs that differ only in seed and learning rate side by side, each with the result that it has alone.

    A learning-rate search trains its rates and seeds side by side. Runs that can't be trained in a stack go to another
    engine, and a line says why. When memory runs out, a stack is halved. Stacks are saved after epochs, and a later
    call resumes them.

    Args:
        runs: The runs.
        study_folder: Folder of the study.
        report: Called after each epoch.
        replicas: The largest number of runs in a stack.
        others: The engine for runs that can't be trained in a stack.
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
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            say(f"{run.name}: not searched in stacks: {reason_of(error)}")
            left.append(run)
        else:
            yield run, row, True
    if left:
        yield from others(left, study_folder, report)


def _run_stack(stack: StackOfRuns, report: Report, others: Engine) -> Iterator[FinishedRun]:
    gc.collect()  # the Trainer of the stack before refers to itself, and still holds its memory
    found = _train(stack, report)
    if isinstance(found, str):
        say(f"{stack.name}: not trained in a stack: {found}")
        stack.delete()
        yield from others(stack.wanted, stack.study_folder, report)
    elif found is not None:
        yield from stack.finish(found)
    else:
        say(f"{stack.name}: {len(stack.runs)} replicas don't fit into memory; it is tried with half as many.")
        release_memory()
        for half in stack.halves():
            yield from _run_stack(half, report, others)


def _train(stack: StackOfRuns, report: Report) -> Sequence[TrainedReplica] | str | None:
    """The trained replicas, or why the runs can't be trained in a stack; None if a smaller stack may fit into memory.

    The exception is not kept: its frames hold the stack that doesn't fit.
    """
    try:
        return stack.train(report)
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        if not is_out_of_memory(error):
            return reason_of(error)
        return None if len(stack.runs) > 1 else "one network doesn't fit into memory."


def _plan_stacks(runs: Sequence[PlannedRun], study_folder: Path, size: int) -> list[StackOfRuns]:
    """Interrupted stacks first, as they were; then the other runs, in groups of similar runs."""
    stacks = interrupted_stacks(runs, study_folder)
    covered = {run_key(run) for stack in stacks for run in stack.wanted}
    for group in alike([run for run in runs if run_key(run) not in covered]):
        stacks += [StackOfRuns(group[start : start + size], study_folder) for start in range(0, len(group), size)]
    return stacks


def alike(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Groups of runs that differ only in seed and learning rate."""
    groups: dict[str, list[PlannedRun]] = defaultdict(list)
    for run in runs:
        plan = run.to_dict()
        plan["protocol"] = {key: value for key, value in plan["protocol"].items() if key != "learning_rate"}
        plan["kind"] = "train" if run.kind in RATE_FACTORS else run.kind  # other rates are trained in the same way
        groups[json.dumps({**plan, "seed": 0, "made_from": dict(run.made_from)}, sort_keys=True)].append(run)
    return list(groups.values())

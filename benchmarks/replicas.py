"""What a stack of replicas costs beside single runs, and beside the library `modelbatch` if it is installed."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median

import torch

from benchmarks.contenders import command
from benchmarks.pace import BudgetSpentError, in_turns
from benchmarks.tables import heading, row

GOALS = {("ELU", 64): 0.5, ("BatchNorm", 64): 0.9}
"""Seconds that an epoch of a stack may take on an H100, by variant and replicas."""

HEADER = ("batch", "variant", "trained by", "an epoch, s", "ms an epoch and replica", "single runs / this", "goal")


@dataclass(frozen=True)
class Entry:
    """One line: what trains so many replicas of a variant."""

    variant: str
    trained_by: str
    replicas: int
    command: list[object]


def replicas(options: argparse.Namespace) -> Iterator[str]:
    """Stacks beside single runs: 8 and 32 on a CPU with one thread, 64 and 128 on a GPU."""
    yield from heading("Replicas", _note(), HEADER)
    deadline = time.monotonic() + options.gpu_seconds if torch.cuda.is_available() else None
    for batch_size in (128,) if deadline else (32, 128):
        for variant in ("ELU", "BatchNorm") if deadline else ("ELU",):
            entries = list(_entries(options, batch_size, variant))
            budget = None if deadline is None else deadline - time.monotonic()
            try:
                commands = {entry.trained_by: entry.command for entry in entries}
                seconds = in_turns(commands, options.repeats, budget=budget)
            except BudgetSpentError:
                left_out = f"left out: {options.gpu_seconds:g} s were over"
                yield row(str(batch_size), variant, left_out, "", "", "", "")
                continue
            single = median(seconds[entries[0].trained_by])
            for entry in entries:
                yield _row(batch_size, entry, median(seconds[entry.trained_by]), single)


def _row(batch_size: int, entry: Entry, took: float, single: float) -> str:
    each = took / entry.replicas
    goal = GOALS.get((entry.variant, entry.replicas)) if torch.cuda.is_available() else None
    met = "" if goal is None else f"≤ {goal} s: {'met' if took <= goal else 'missed'}"
    cells = (f"{took:.2f}", f"{1000 * each:.1f}", f"{single / each:.2f}", met)
    return row(str(batch_size), entry.variant, entry.trained_by, *cells)


def _entries(options: argparse.Namespace, batch_size: int, variant: str) -> Iterator[Entry]:
    fixed = (options.images, batch_size, 1)  # a study's runs have one thread each
    single = command("ours", *fixed, "--model.variant", variant)
    yield Entry(variant, "a single run", 1, single)
    for count in (64, 128) if torch.cuda.is_available() else (8, 32):
        yield Entry(variant, f"a stack of {count}", count, command("stack", *fixed, count, variant))
        if find_spec("modelbatch"):
            loop = command("modelbatch", *fixed, count, variant)
            yield Entry(variant, f"modelbatch, {count}", count, loop)


def _note() -> str:
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread each"
    note = (
        f"{where}. Stacks train, validate, follow each replica and save checkpoints, as a study has them do; a single "
        "run is `lit-cifar fit`. Both are compiled."
    )
    if find_spec("modelbatch"):
        return f"{note} `modelbatch` trains and validates in a plain eager loop."
    return f"{note} `modelbatch` isn't installed: `pip install --no-deps modelbatch` adds its rows."

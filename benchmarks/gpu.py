"""What a GPU makes of a training, beside an eager loop there."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import torch

from benchmarks.contenders import command
from benchmarks.noise import VALIDATION_SHARE
from benchmarks.pace import BudgetSpentError, busy_seconds, in_turns, median_ratio
from benchmarks.tables import heading, row

GOAL = 5.0
"""How many times as many images a second as an eager loop's."""

HEADER = ("batch", "", "images a second", "GPU busy", "ratio to the eager loop", f"goal: {GOAL:.0f}")


def on_gpu(options: argparse.Namespace) -> Iterator[str]:
    """Images a second for three batch sizes, as far as `options.gpu_seconds` allows."""
    if not torch.cuda.is_available():
        yield from ("## On a GPU", "", "This machine has none.")
        return
    note = (
        f"{torch.cuda.get_device_name()}. Training images, by the time of an epoch with its validation; busy is the "
        "time of kernels and copies in an epoch of its own, of the median epoch's. The eager loop is the plain loop."
    )
    yield from heading("On a GPU", note, HEADER)
    deadline = time.monotonic() + options.gpu_seconds
    for batch_size in (128, 512, 2048):
        commands = _commands(options, batch_size)
        try:
            seconds = in_turns(commands, options.repeats, budget=deadline - time.monotonic())
            yield from _rows(options, batch_size, commands, seconds, deadline)
        except BudgetSpentError:
            yield row(str(batch_size), f"left out: {options.gpu_seconds:g} s were over", "", "", "", "")


def _commands(options: argparse.Namespace, batch_size: int) -> dict[str, list[object]]:
    fixed = (options.images, batch_size, options.threads)
    commands = {"eager loop": command("plain-loop", *fixed)}
    for precision in ("32-true", "bf16-mixed"):
        arguments = ("--model.variant", "ELU", "--trainer.precision", precision)
        commands[f"lit_cifar, {precision}"] = command("ours", *fixed, *arguments)
    return commands


def _rows(
    options: argparse.Namespace,
    batch_size: int,
    commands: Mapping[str, Sequence[object]],
    seconds: Mapping[str, Sequence[float]],
    deadline: float,
) -> Iterator[str]:
    count = options.images * (VALIDATION_SHARE - 1) // VALIDATION_SHARE
    for name, took in seconds.items():
        busy = busy_seconds(commands[name], budget=deadline - time.monotonic()) / median(took)
        ratio = median_ratio(seconds["eager loop"], took)
        met = "" if name == "eager loop" else "met" if ratio >= GOAL else "missed"
        yield row(str(batch_size), name, f"{count / median(took):,.0f}", f"{busy:.0%}", f"{ratio:.1f}", met)

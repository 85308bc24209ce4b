"""Measures the speed of lit_cifar as ratios to references in the same run. `make bench` writes `benchmarks/results.md`.

    python -m benchmarks [--images N] [--repeats R] [--threads T] [--gpu-seconds S] [--only SECTION …] [--output FILE]

Contenders take turns, epoch by epoch. Times are medians, ratios are medians of the ratios of each turn. The images are
noise, which takes the same work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from statistics import median

import variants
from benchmarks.contenders import KERAS_PYTHON, command
from benchmarks.gpu import on_gpu
from benchmarks.pace import ROOT, environment, in_turns, median_ratio
from benchmarks.replicas import replicas
from benchmarks.tables import heading, row
from lit_cifar.utils.files import write_text

GOALS = {  # reference: the most that an epoch of ours may take, as a ratio, at each batch size
    "the matrix products alone": {32: 3.0, 128: 2.0, 512: 1.4},
    "a plain torch loop": {32: 0.9, 128: 0.9, 512: 1.0},
    "a typical Lightning script": {32: 0.4, 128: 0.35, 512: 0.35},
    "Keras on TensorFlow": {32: 0.6, 128: 0.65, 512: 0.75},
}
LIT_CIFAR = [sys.executable, "-m", "lit_cifar"]


def main() -> None:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end the contenders, too
    title = f"# How fast lit_cifar is\n\n{machine(options)}"
    lines = [title]
    print(title, flush=True)
    for section in options.only:
        for line in chain([""], SECTIONS[section](options)):
            lines.append(line)
            print(line, flush=True)
            if options.output:  # written after each line, in case a later one fails
                write_text(options.output, "\n".join(lines) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=50_000, help="a tenth of them is held out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--gpu-seconds", type=float, default=300, help="for each section on a GPU; what is left says so"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--output", type=lambda path: Path(path).absolute(), help="Markdown file to write")
    return parser


def machine(options: argparse.Namespace) -> str:
    """Machine, date and versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "lit-cifar"))
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{date.today()}; {processor()}, {os.cpu_count()} cores, {options.threads} threads; load before it began "
        f"{load} (on a quiet machine 0); {platform.system()}, Python {platform.python_version()}, {versions}.\n"
        f"{options.images} images of noise, a tenth held out; medians of {options.repeats} epochs taken in turns, "
        "ratios those of each turn's. Printed by `make bench`."
    )


def processor() -> str:
    """The name of the processor, if the system knows it."""
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def training(options: argparse.Namespace) -> Iterator[str]:
    """Compare our epochs with the references."""
    references = {
        "the matrix products alone": "floor",
        "a plain torch loop": "plain-loop",
        "a typical Lightning script": "lightning-script",
    }
    if KERAS_PYTHON.exists():
        references["Keras on TensorFlow"] = "keras"
    note = (
        "An epoch is training, validation, TensorBoard, `metrics.csv`, checkpoints and the progress bar: "
        "`lit-cifar fit` with its defaults, ELU 20×100, NAdam. The plain loop logs nothing; the matrix products are of "
        "training alone."
    )
    if not KERAS_PYTHON.exists():
        note += " Keras was not there: `make bench-keras` installs it."
    header = ("batch", "reference", "its epoch, s", "ours, s", "ratio", "goal", "")
    yield from heading("An epoch of training", note, header)
    for batch_size in (32, 128, 512):
        fixed = (options.images, batch_size, options.threads)
        commands = {name: command(contender, *fixed) for name, contender in references.items()}
        seconds = in_turns({"lit_cifar": command("ours", *fixed), **commands}, options.repeats)
        ours = seconds.pop("lit_cifar")
        for name, theirs in seconds.items():
            ratio, goal = median_ratio(ours, theirs), GOALS[name][batch_size]
            met = "met" if ratio <= goal else "missed"
            medians = (f"{median(theirs):.2f}", f"{median(ours):.2f}")
            yield row(str(batch_size), name, *medians, f"{ratio:.2f}", f"≤ {goal}", met)


def each_variant(options: argparse.Namespace) -> Iterator[str]:
    """Measure what techniques cost."""
    names = variants.available()
    count = options.images // 5
    seconds = in_turns({name: ours(options, count, 128, "--model.variant", name) for name in names}, options.repeats)
    yield from heading("Each variant", f"{count} images, batches of 128.", ("variant", "epoch, s", "ratio to ELU"))
    for name, took in seconds.items():
        yield row(name, f"{median(took):.2f}", f"{median_ratio(took, seconds['ELU']):.2f}")


def growth(options: argparse.Namespace) -> Iterator[str]:
    """How an epoch's time grows with what there is to do."""
    count = options.images // 5

    def with_option(name: str, value: int) -> list[object]:
        return ours(options, count, 128, "--model.variant", "ELU", f"--model.variant.{name}", value)

    grown = {
        "depth": {n: with_option("depth", n) for n in (5, 10, 20, 40)},
        "width": {n: with_option("width", n) for n in (50, 100, 200, 400)},
        "batch size": {n: ours(options, count, n) for n in (32, 128, 512)},
        "images": {n: ours(options, n, 128) for n in (count // 4, count // 2, count)},
    }
    yield from heading("How cost grows", f"ELU, {count} images unless said, seconds an epoch.", ("of", "seconds"))
    for what, sizes in grown.items():
        seconds = in_turns({str(size): its_command for size, its_command in sizes.items()}, options.repeats)
        yield row(what, "; ".join(f"{size}: {median(took):.3f}" for size, took in seconds.items()))


def ours(options: argparse.Namespace, images: int, batch_size: int, *arguments: object) -> list[object]:
    """The command line of lit_cifar as a contender."""
    return command("ours", images, batch_size, options.threads, *arguments)


def start_up(options: argparse.Namespace) -> Iterator[str]:
    """Measure the time until a command starts to work."""
    fit = ["fit", "--model.variant", "ELU", "--data.source", "synthetic", "--trainer.enable_progress_bar", "false"]
    one_step = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1"]
    commands = {
        "python -c 'import lightning'": [sys.executable, "-c", "import lightning"],
        "lit-cifar --version": [*LIT_CIFAR, "--version"],
        "lit-cifar --help": [*LIT_CIFAR, "--help"],
        "lit-cifar variants": [*LIT_CIFAR, "variants"],
        "lit-cifar fit --help": [*LIT_CIFAR, "fit", "--help"],
        "lit-cifar fit of one step, synthetic images and pictures included": [*LIT_CIFAR, *fit, *one_step],
    }
    note = "From command to exit, and the most memory that a process of it took."
    yield from heading("Starting", note, ("command", "seconds", "peak memory, MiB"))
    for name, program in commands.items():
        seconds, peaks = zip(*(_cost(program) for _ in range(options.repeats)), strict=True)
        yield row(name, f"{median(seconds):.2f}", f"{median(peaks):.0f}")


def workers(options: argparse.Namespace) -> Iterator[str]:
    """Measure what worker processes gain for a study."""
    study = ["--variants", "ELU,SELU", "--seeds", "4", "--max_epochs", "4", "--data.source", "synthetic"]
    note = "A study of eight runs of four epochs, from command to report, once each; every run has one thread."
    yield from heading("Worker processes", note, ("workers", "seconds"))
    for count in dict.fromkeys((1, options.threads)):
        took, _ = _cost([*LIT_CIFAR, "compare", *study, "--replicas", "0", "--workers", str(count)])
        yield row(str(count), f"{took:.0f}")


def mc_dropout(options: argparse.Namespace) -> Iterator[str]:
    """The output of `benchmarks/mc_dropout.py`."""
    arguments = ["--images", options.images // 5, "--repeats", options.repeats, "--threads", options.threads]
    program = [sys.executable, "-m", "benchmarks.mc_dropout", *map(str, arguments)]
    printed = subprocess.run(program, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    yield from ("## MC dropout", "", "```", printed.stdout.strip(), "```")


SECTIONS: Mapping[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "training": training,
    "variants": each_variant,
    "growth": growth,
    "gpu": on_gpu,
    "replicas": replicas,
    "start-up": start_up,
    "workers": workers,
    "mc-dropout": mc_dropout,
}


def _cost(program: Sequence[str]) -> tuple[float, float]:
    """The seconds that a program takes, and its peak memory or that of a child process in MiB.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    command_line = [sys.executable, ROOT / "benchmarks" / "cost.py", *program]
    with tempfile.TemporaryDirectory() as folder:
        printed = subprocess.run(command_line, check=True, capture_output=True, env=environment(), cwd=folder).stdout  # noqa: S603
    cost = json.loads(printed)
    return cost["seconds"], cost["mib"]


if __name__ == "__main__":
    main()

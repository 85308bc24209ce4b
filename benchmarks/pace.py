"""Runs contenders in processes that wait between epochs, so that they can be timed in turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).parents[1]
PROFILE = "profile"
"""Asks a contender for an epoch in which its GPU is profiled."""


def environment() -> dict[str, str]:
    """This process's environment, with the repository first on PYTHONPATH and what was there after it."""
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *([before] if before else [])])}


class BudgetSpentError(Exception):
    """The time budget of the contenders is over."""


class Contender:
    """A program that runs one epoch for each line it reads and prints its seconds as JSON.

    It has a temporary folder.

    Args:
        command: The program and its arguments.
    """

    def __init__(self, command: Sequence[object]) -> None:
        self._is_over = False
        self._folder = tempfile.TemporaryDirectory()
        self._errors = Path(self._folder.name, "errors.txt")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(  # noqa: S603
                [str(part) for part in command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                cwd=self._folder.name, env=environment(),
            )  # fmt: skip

    def epoch(self) -> float:
        """Seconds of one more epoch.

        Raises:
            RuntimeError: if the program has ended.
        """
        return self._ask("time")["seconds"]

    def busy(self) -> float:
        """Seconds that the GPU is busy in one more epoch. Only torch's contenders can tell.

        Raises:
            RuntimeError: if the program has ended.
        """
        return self._ask(PROFILE)["busy"]

    def _ask(self, what: str) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it has ended, which is noticed below
            self._process.stdin.write(f"{what}\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith('{"seconds"'):
                answer: dict[str, float] = json.loads(line)
                return answer
        if self._is_over:
            raise BudgetSpentError
        raise RuntimeError(f"A contender ended early: {self._errors.read_text()[-2000:]}")

    def stop(self) -> None:
        """End the program, because its time is over."""
        self._is_over = True
        self._process.kill()

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


class Tick:
    """The contender's side: called at the start of each epoch. Other output is discarded."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        self._started: float | None = None
        self._profile: profile | None = None

    def __call__(self) -> None:
        if self._started is not None:
            answer = {"seconds": time.perf_counter() - self._started}
            if self._profile is not None:
                self._profile.stop()
                answer["busy"] = on_gpu_seconds(self._profile.events())
            print(json.dumps(answer), file=self._answers, flush=True)
        asked = sys.stdin.readline().strip()
        if not asked:
            os._exit(0)
        self._profile = profile(activities=[ProfilerActivity.CUDA]) if asked == PROFILE else None
        if self._profile is not None:
            self._profile.start()
        self._started = time.perf_counter()


def on_gpu_seconds(events: Iterable[Any]) -> float:
    """The time that a GPU's kernels and copies among a profile's events take; one follows the other."""
    return sum(event.time_range.elapsed_us() for event in events if event.device_type == DeviceType.CUDA) / 1e6


def in_turns(
    commands: Mapping[str, Sequence[object]], repeats: int, *, budget: float | None = None
) -> dict[str, list[float]]:
    """Seconds of each one's epochs, round by round; the first round is for warming up and left out.

    Raises:
        BudgetSpentError: if all that takes more seconds than the budget.
    """
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    with ExitStack() as stack:
        contenders = {name: stack.enter_context(Contender(command)) for name, command in commands.items()}
        stack.enter_context(_within(budget, contenders.values()))
        for round_ in range(repeats + 1):
            for name, contender in contenders.items():
                took = contender.epoch()
                print(f"round {round_} of {repeats}: {name} {took:.2f} s", file=sys.stderr, flush=True)
                if round_:
                    seconds[name].append(took)
    return seconds


@contextmanager
def _within(budget: float | None, contenders: Iterable[Contender]) -> Iterator[None]:
    """Stop contenders that are still at work when so many seconds are over."""
    if budget is None:
        yield
        return
    timer = threading.Timer(max(0.0, budget), lambda: [contender.stop() for contender in contenders])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def busy_seconds(command: Sequence[object], *, budget: float | None = None) -> float:
    """Seconds for which a contender keeps a GPU busy in an epoch, its second; see `Contender.busy`.

    Raises:
        BudgetSpentError: if that takes more seconds than the budget.
    """
    with Contender(command) as contender, _within(budget, [contender]):
        contender.epoch()
        return contender.busy()


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each round, so that slow rounds cancel out."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))

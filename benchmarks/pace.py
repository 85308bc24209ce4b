"""Contenders that stand still between epochs, so that they can be timed in turns."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from lightning import Callback, LightningModule, Trainer

Tick = Callable[[], None]


class Contender(Protocol):
    def epoch(self) -> float:
        """Train one more epoch and give the seconds it took."""


class Loop:
    """A contender whose epoch is a function."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function

    def epoch(self) -> float:
        started = time.perf_counter()
        self.function()
        return time.perf_counter() - started


class Paced:
    """A contender that trains in a thread of its own and waits at each start of an epoch.

    Args:
        train: Called with `tick`, which it must call whenever an epoch begins, and when all are done.
    """

    def __init__(self, train: Callable[[Tick], object]) -> None:
        self._go, self._there = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        threading.Thread(target=self._run, args=(train,), daemon=True).start()
        self._wait()  # set up, and at the start of the first epoch

    def epoch(self) -> float:
        started = time.perf_counter()
        self._go.release()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        self._there.acquire()
        if self._error is not None:
            raise self._error

    def _run(self, train: Callable[[Tick], object]) -> None:
        try:
            train(self._tick)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the main thread
            self._error = error
            self._there.release()

    def _tick(self) -> None:
        self._there.release()
        self._go.acquire()


class Gate(Callback):
    """Makes a Trainer a paced contender: an epoch lasts until the next, validation and checkpoints included."""

    def __init__(self, tick: Tick) -> None:
        self.tick = tick

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.tick()


def in_turns(contenders: Mapping[str, Contender], repeats: int) -> dict[str, float]:
    """Median seconds of an epoch of each; the first round is for warming up and doesn't count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(repeats + 1):
        for name, contender in contenders.items():
            took = contender.epoch()
            if round_:
                seconds[name].append(took)
    return {name: statistics.median(values) for name, values in seconds.items()}

"""Choose a learning rate by short runs at a ladder of rates, each with several seeds, from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from lit_cifar.lr_find.search import ConfirmRun

Train = Callable[[Sequence[tuple[float, int]]], Sequence[ConfirmRun]]
"""Trains short runs, each at a learning rate with a seed, and gives their results in the same order."""

FACTOR = 2.0
"""Neighbouring rungs are this factor apart."""

COARSE = (-2, 0, 2)
"""The rungs that are tried first, in steps of `FACTOR` from the start."""

FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Rung:
    """The short runs at one learning rate, one for each seed.

    Args:
        learning_rate: The rate.
        runs: Their results, in the order of the seeds.
    """

    learning_rate: float
    runs: tuple[ConfirmRun, ...]

    @property
    def mean(self) -> ConfirmRun:
        """The mean over the seeds; the loss is infinite if one of them diverged."""
        loss, accuracy = fmean(run.val_loss for run in self.runs), fmean(run.val_accuracy for run in self.runs)
        return ConfirmRun(self.learning_rate, loss, accuracy)

    def to_dict(self) -> dict[str, Any]:
        """The rung as JSON has it: no infinities."""
        losses = [run.val_loss if math.isfinite(run.val_loss) else None for run in self.runs]
        accuracies = [run.val_accuracy for run in self.runs]
        return {"learning_rate": self.learning_rate, "val_losses": losses, "val_accuracies": accuracies}


def climb(
    train: Train,
    *,
    start: float,
    seeds: Sequence[int],
    lowest: float = 1e-6,
    highest: float = 1.0,
    first: Iterable[int] = COARSE,
) -> list[Rung]:
    """Try learning rates from coarse to fine until the best one has tried neighbours on both sides.

    Args:
        train: Does the short runs; called with all that can be done at once.
        start: Where to start.
        seeds: The seeds of the short runs, at least three.
        lowest: The lowest rate to try.
        highest: The highest rate to try.
        first: The rungs to try first, in steps of a factor of 2 from the start. A stack of replicas takes many at once.

    Returns:
        The rungs from the lowest mean validation loss to the highest; the first one's rate is the choice.

    Raises:
        ValueError: If there are fewer than three seeds.
    """
    if len(seeds) < FEWEST_SEEDS:
        raise ValueError(
            f"seeds={list(seeds)} are too few: one search's choice varies 1.3- to 3.2-fold; use at least 3."
        )

    def allowed(position: int) -> bool:
        return lowest <= start * FACTOR**position <= highest

    rungs: dict[int, Rung] = {}
    wanted = [position for position in first if allowed(position)] or [0]
    while wanted:
        rungs |= _train(train, wanted, start, seeds)
        steps = ([at for at in step if at not in rungs and allowed(at)] for step in _next(rungs))
        wanted = next((step for step in steps if step), [])
    return sorted(rungs.values(), key=lambda rung: (rung.mean.val_loss, rung.learning_rate))


def _next(rungs: dict[int, Rung]) -> Iterator[Sequence[int]]:
    """The next rates to try: further out while the best rung is at an end, then the neighbors of the best."""
    best = min(rungs, key=lambda position: (rungs[position].mean.val_loss, position))
    if best == min(rungs):
        yield [best - 2]
    if best == max(rungs):
        yield [best + 2]
    yield [best - 1, best + 1]


def _train(train: Train, positions: Sequence[int], start: float, seeds: Sequence[int]) -> dict[int, Rung]:
    rates = [start * FACTOR**position for position in positions]
    runs = iter(train([(rate, seed) for rate in rates for seed in seeds]))
    return {at: Rung(rate, tuple(next(runs) for _ in seeds)) for at, rate in zip(positions, rates, strict=True)}

"""Ladders of learning rates on made-up losses, whose best rate is known."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from lit_cifar.lr_find.ladder import climb
from lit_cifar.lr_find.search import ConfirmRun

SEEDS = (10, 11, 12)


class Bowl:
    """Short runs whose loss grows with the distance from the best rate; at ten times it they diverge."""

    def __init__(self, best: float, noise: float = 0.0) -> None:
        self.best, self.noise = best, noise
        self.tried: list[tuple[float, int]] = []

    def __call__(self, pairs: Sequence[tuple[float, int]]) -> list[ConfirmRun]:
        self.tried += pairs
        return [self.run(rate, seed) for rate, seed in pairs]

    def run(self, rate: float, seed: int) -> ConfirmRun:
        if rate > 10 * self.best:
            return ConfirmRun(rate, math.inf, 0.1)
        luck = self.noise * np.random.default_rng([seed, int(1e9 * rate)]).normal()
        loss = 1.5 + 0.05 * math.log2(rate / self.best) ** 2 + luck
        return ConfirmRun(rate, loss, 0.5 - loss / 100)


@pytest.mark.parametrize("steps", range(-7, 8))
def test_the_best_rate_is_found_and_its_neighbours_were_tried(steps: int) -> None:
    bowl = Bowl(1e-3 * 2.0**steps)
    chosen = climb(bowl, start=1e-3, seeds=SEEDS)[0]
    rates = {rate for rate, _ in bowl.tried}
    assert chosen.learning_rate == pytest.approx(bowl.best)
    assert {bowl.best / 2, bowl.best * 2} <= rates
    assert len(bowl.tried) == len(set(bowl.tried)) == 3 * len(rates)
    assert len(rates) <= 5 + abs(steps) // 2 + 1


def test_a_rate_at_which_one_seed_diverges_is_not_chosen() -> None:
    def train(pairs: Sequence[tuple[float, int]]) -> list[ConfirmRun]:
        diverges = lambda rate, seed: rate > 0.005 and seed == 12  # noqa: E731
        return [ConfirmRun(rate, math.inf if diverges(rate, seed) else 2 - rate, 0.3) for rate, seed in pairs]

    rungs = climb(train, start=1e-3, seeds=SEEDS)
    assert rungs[0].learning_rate == pytest.approx(0.004)
    assert rungs[-1].mean.val_loss == math.inf
    assert json.dumps(rungs[-1].to_dict(), allow_nan=False).count("null") == 1


def test_three_seeds_choose_better_than_one() -> None:
    """A choice costs what its true loss is above the best: with more seeds it costs less."""
    costs = []
    for seeds in (3, 60):
        chosen = [
            climb(Bowl(1e-3, noise=0.1), start=1e-3, seeds=range(1000 * n, 1000 * n + seeds))[0] for n in range(40)
        ]
        costs.append(np.mean([math.log2(rung.learning_rate / 1e-3) ** 2 for rung in chosen]))
    assert costs[1] < 0.5 * costs[0]


def test_the_ladder_stays_within_its_bounds() -> None:
    bowl = Bowl(1.0)
    assert climb(bowl, start=1e-3, seeds=SEEDS, highest=0.01)[0].learning_rate == pytest.approx(0.008)
    assert max(rate for rate, _ in bowl.tried) <= 0.01


def test_a_stack_can_try_all_rungs_at_once() -> None:
    calls = []

    def train(pairs: Sequence[tuple[float, int]]) -> list[ConfirmRun]:
        calls.append(len(pairs))
        return Bowl(1e-3)(pairs)

    assert climb(train, start=1e-3, seeds=SEEDS, first=range(-3, 5))[0].learning_rate == 1e-3
    assert calls == [8 * 3]  # the best isn't at an end


def test_fewer_than_three_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="use at least 3"):
        climb(Bowl(1e-3), start=1e-3, seeds=(1, 2))

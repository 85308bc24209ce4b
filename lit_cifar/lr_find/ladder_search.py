"""Search a learning rate for a study: a range test says where to look, a ladder of short runs with seeds decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any

from lightning import Callback

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.lr_find.ladder import COARSE, Rung, Train, climb
from lit_cifar.lr_find.search import ConfirmRun, LearningRateSearch, range_test, short_run
from lit_cifar.training.module import LitClassifier

MakeSeeded = Callable[[int, float | None], tuple[LitClassifier, CIFAR10DataModule]]
"""A fresh model and its data for a seed, with a learning rate or the variant's own."""

EPOCHS = 3
"""Epochs of a short run."""

LOWEST, HIGHEST = 1e-6, 1.0


@dataclass(frozen=True)
class LadderSearch:
    """A range test and the rungs of the ladder, the best first."""

    search: LearningRateSearch
    rungs: Sequence[Rung]

    def to_json(self) -> str:
        """Everything, for `lr_find.json`."""
        content = {**json.loads(self.search.to_json()), "ladder": [rung.to_dict() for rung in self.rungs]}
        return json.dumps(content, indent=1)


def search_by_ladder(
    make: MakeSeeded,
    *,
    seeds: Sequence[int],
    on_run: Callable[[ConfirmRun], None],
    make_callbacks: Callable[[], Sequence[Callback]] = tuple,
    train: Train | None = None,
    first: Iterable[int] = COARSE,
    **trainer_options: Any,
) -> LadderSearch:
    """Search a learning rate; the one with the lowest mean validation loss over the seeds is chosen.

    Args:
        make: Gives a fresh model and its data.
        seeds: The seeds of the short runs, at least three; the first is the range test's, too.
        on_run: Called after each short run.
        make_callbacks: Gives fresh callbacks for a short run. The range test runs without them, because Lightning's
            Tuner replaces a Trainer's callbacks. It only decides where the ladder starts: the rate that is chosen comes
            from short runs with callbacks, and rates are added until the best one has neighbors on both sides.
        train: Does the short runs. Default: one after the other, in this process.
        first: The rungs to try first, as in `climb`.
        trainer_options: Arguments of the Trainer, such as `gradient_clip_val`.

    Raises:
        UserError: If the range test finds nowhere to look.
    """

    def one_by_one(pairs: Sequence[tuple[float, int]]) -> Iterator[ConfirmRun]:
        for rate, seed in pairs:
            yield short_run(partial(make, seed), rate, EPOCHS, callbacks=make_callbacks(), **trainer_options)

    def train_and_tell(pairs: Sequence[tuple[float, int]]) -> list[ConfirmRun]:
        found = []
        for run in (train or one_by_one)(pairs):
            found.append(run)
            on_run(run)
        return found

    with redirect_stderr(StringIO()):  # the Tuner's progress bar can't be turned off
        curve = range_test(partial(make, seeds[0]), min_lr=LOWEST, max_lr=HIGHEST, steps=300, **trainer_options)
    rungs = climb(train_and_tell, start=curve.start, seeds=seeds, lowest=LOWEST, highest=HIGHEST, first=first)
    return LadderSearch(LearningRateSearch(curve, tuple(rung.mean for rung in rungs)), rungs)

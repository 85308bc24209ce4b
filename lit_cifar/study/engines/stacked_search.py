"""Learning-rate searches of a study whose short runs are trained side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lit_cifar.lr_find.ladder import COARSE
from lit_cifar.lr_find.ladder_search import EPOCHS
from lit_cifar.lr_find.search import ConfirmRun
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.memory import is_out_of_memory, release_memory
from lit_cifar.replicas.network import NotStackableError
from lit_cifar.replicas.replica import Replica
from lit_cifar.replicas.short_runs import short_runs
from lit_cifar.study.finished import Row, keep
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.rows import row_of
from lit_cifar.study.run import Report, builder_of, model_and_data, one_thread, search_learning_rate, write_search
from lit_cifar.study.run_parts import trainer_options
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.console import say
from lit_cifar.utils.files import emptied

FIRST = range(COARSE[0], COARSE[-1] + 1)
"""The rungs to try first: all between the coarse ones too, because a larger stack takes little longer."""


@one_thread()
def search_in_stacks(run: PlannedRun, study_folder: Path, report: Report, *, replicas: int) -> Row:
    """Search a learning rate with stacks of short runs, and write the row to the run's folder.

    Args:
        run: The search.
        study_folder: Folder of the study.
        report: Called after each short run.
        replicas: The largest number of short runs in a stack.

    Raises:
        NotStackableError: If its short runs can't be trained in a stack.
    """
    found = search_learning_rate(run, report, train=StackedLadder(run, replicas), first=FIRST)
    folder = emptied(study_folder / run.folder)
    row = row_of(run, folder, lambda: write_search(found, folder))
    keep(row, run, folder)
    return row


class StackedLadder:
    """Train the short runs of a search in stacks, which get smaller when memory runs out.

    Args:
        run: The search.
        replicas: The largest number of replicas in a stack.
    """

    def __init__(self, run: PlannedRun, replicas: int) -> None:
        if run.callbacks:
            raise NotStackableError("it has callbacks of its own, which follow one network.")
        self.run = run
        self.replicas = replicas
        self._build = builder_of(run)

    def __call__(self, pairs: Sequence[tuple[float, int]]) -> list[ConfirmRun]:
        """The results for pairs of a learning rate and a seed."""
        found: list[ConfirmRun] = []
        while some := pairs[len(found) : len(found) + self.replicas]:
            if (results := self._train_if_it_fits(some)) is None:
                say(f"{self.run.name}: {len(some)} replicas don't fit into memory; it is tried with half as many.")
                self.replicas = (len(some) + 1) // 2
                release_memory()
            found += results or ()
        return found

    def _train_if_it_fits(self, pairs: Sequence[tuple[float, int]]) -> list[ConfirmRun] | None:
        """The results, or None if memory has run out. The exception, whose frames hold the stack, isn't kept."""
        try:
            return self._train(pairs)
        except Exception as error:
            if len(pairs) > 1 and is_out_of_memory(error):
                return None
            raise

    def _train(self, pairs: Sequence[tuple[float, int]]) -> list[ConfirmRun]:
        members = [Replica(f"rate {rate:g}, seed {seed}", seed, rate) for rate, seed in pairs]
        options = trainer_options(self.run.trainer)
        return short_runs(self._make, members, stacked_data(self.run, [s for _, s in pairs]), epochs=EPOCHS, **options)

    def _make(self, replica: Replica) -> LitClassifier:
        model, _ = model_and_data(replace(self.run, seed=replica.seed), self._build)
        model.learning_rate = replica.learning_rate
        return model


def stacked_data(run: PlannedRun, seeds: Sequence[int]) -> StackedDataModule:
    """The data of a stack of runs like this one, with these seeds."""
    protocol: Any = run.protocol
    sizes = {name: getattr(protocol, name) for name in ("batch_size", "val_size", "train_size")}
    return StackedDataModule(seeds=seeds, **run.data, **sizes)

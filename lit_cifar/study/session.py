"""A study at work in its folder: it executes runs in any number of steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console

from lit_cifar.study.clock import Clock, OutOfTime
from lit_cifar.study.engines.base import Engine, check_unchanged, drop_changed, run_all, run_here
from lit_cifar.study.fingerprints import code_fingerprint
from lit_cifar.study.finished import Row, adopt_former_folders, history
from lit_cifar.study.plan import RATE_FACTORS, Neighbour, PlannedRun, plan_runs, plan_searches
from lit_cifar.study.progress import StudyProgress
from lit_cifar.study.schema import Study
from lit_cifar.study.study_data import StudyData
from lit_cifar.study.timing import in_turn, timings_table
from lit_cifar.utils.files import csv_text, write_text

RunKey = tuple[str, int]
"""A run's name and seed."""


class Session:
    """The runs of a study that are wanted so far, and their rows.

    Call `search` first, then `check_finished_runs`, then `run` as often as needed. Finished runs are not repeated.

    Args:
        study: The study.
        data: The images.
        folder: The study's folder.
        engine: Executes the runs.
        console: Where people see how it goes.
        fresh: Whether to repeat finished runs whose data or code has changed since.
        clock: The time budget.
    """

    def __init__(
        self,
        study: Study,
        data: StudyData,
        folder: Path,
        *,
        engine: Engine,
        console: Console,
        fresh: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.study = study
        self.data = data
        self.folder = folder
        self.engine = engine
        self.console = console
        self.fresh = fresh
        self.clock = clock or Clock()
        self.learning_rates: dict[str, float] = {}
        self.rows: dict[RunKey, Row] = {}
        self._made_from = {
            name: {"data": data.fingerprint, "code": code_fingerprint([run.model, *run.callbacks])}
            for name, run in study.runs.items()
        }
        self._done: dict[RunKey, PlannedRun] = {}
        self._timed: list[Row] = []
        adopt_former_folders(study.runs, folder)

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Work until the time budget is over, and say so; what is finished is kept."""
        try:
            yield
        except OutOfTime:
            self.console.print("The time budget is over.")

    def search(self) -> None:
        """Search the learning rate of each run that asks for it; where none is found, the variant's own stays."""
        searches = self._made(plan_searches(self.study, self.data.arguments))
        if searches:
            self.console.print(f"Searching the learning rate of {len(searches)} runs.")
        for row in self._do(searches):
            if row["status"] == "ok":
                self.learning_rates[row["run"]] = row["lr"]
            else:
                kept = f"{row['run']} keeps its variant's learning rate: {row['reason']}"
                self.console.print(kept, style="bold", highlight=False, markup=False)

    def run(self, *, seeds: Iterable[int], names: Iterable[str] | None = None) -> None:
        """Execute the runs of some seeds that this session hasn't done; `names` leaves out the study's other runs.

        Raises:
            OutOfTime: If the time budget is over; the runs that are finished are kept.
        """
        planned = self.prepared(plan_runs(self.study, self.data.arguments, seeds=seeds, names=names))
        self._do([run for run in planned if (run.name, run.seed) not in self._done], keep=True)

    def check_finished_runs(self) -> None:
        """Check that finished runs fit today's settings, data and code. With `fresh`, those that don't are dropped.

        Raises:
            UserError: If they don't fit, and `fresh` is false.
        """
        planned = self.prepared(plan_runs(self.study, self.data.arguments))
        if self.fresh:
            drop_changed(planned, self.folder)
        else:
            check_unchanged(planned, self.folder)

    def time_alone(self, names: Iterable[str], *, rounds: Iterable[int]) -> None:
        """Time some runs, one after the other in this process; `timings` has what they take.

        Args:
            names: The runs.
            rounds: The numbers of rounds that this session hasn't done, from 0.

        Raises:
            OutOfTime: If the time budget is over; the rounds that are finished are kept.
        """
        planned = self.prepared(plan_runs(self.study, self.data.arguments, seeds=rounds, names=names))
        self._do(in_turn([replace(run, kind="timing") for run in planned]), engine=run_here)

    @property
    def timings(self) -> pd.DataFrame:
        """The rounds in which runs were timed alone, a row each."""
        return timings_table(self._timed)

    def vary_rates(self, *, seeds: Iterable[int], names: Iterable[str]) -> None:
        """Repeat some runs at half and at double their learning rates, for those seeds that they have.

        Raises:
            OutOfTime: If the time budget is over; the runs that are finished are kept.
        """
        planned = self.prepared(plan_runs(self.study, self.data.arguments, seeds=seeds, names=names))
        ok = [run for run in planned if self.rows.get((run.name, run.seed), {}).get("status") == "ok"]
        self._do([self._at_rate(run, neighbour) for run in ok for neighbour in RATE_FACTORS])

    def prepared(self, runs: Iterable[PlannedRun]) -> list[PlannedRun]:
        """The runs with the learning rates found for them, and what they are made from."""
        return [self._with_learning_rate(run) for run in self._made(runs)]

    @property
    def runs(self) -> list[PlannedRun]:
        """The runs that were done, seed by seed, in the order of the study."""
        order = list(self.study.runs)
        return sorted(self._done.values(), key=lambda run: (run.seed, order.index(run.name)))

    @property
    def results(self) -> pd.DataFrame:
        """A row for each run that was done."""
        return pd.DataFrame([self.rows[run.name, run.seed] for run in self.runs])

    @property
    def histories(self) -> dict[RunKey, pd.DataFrame]:
        """The epochs of each run that was done, by its name and seed."""
        return {(run.name, run.seed): history(run, self.folder) for run in self.runs}

    def _made(self, runs: Iterable[PlannedRun]) -> list[PlannedRun]:
        return [replace(run, made_from=self._made_from[run.name]) for run in runs]

    def _with_learning_rate(self, run: PlannedRun) -> PlannedRun:
        if run.name not in self.learning_rates:
            return run
        rate = self.learning_rates[run.name]
        return replace(run, protocol=run.protocol.model_copy(update={"learning_rate": rate}))

    def _at_rate(self, run: PlannedRun, neighbour: Neighbour) -> PlannedRun:
        rate = RATE_FACTORS[neighbour] * self.rows[run.name, run.seed]["lr"]
        return replace(run, kind=neighbour, protocol=run.protocol.model_copy(update={"learning_rate": rate}))

    def _do(self, runs: Sequence[PlannedRun], *, keep: bool = False, engine: Engine | None = None) -> list[Row]:
        """Do what isn't done yet; the rows in the order of finishing. `keep` puts them into `results.csv`."""
        rows = []
        with StudyProgress(len(runs), self.console) as progress:
            for run, row, here in run_all(
                runs, self.folder, engine or self.engine, self.clock.checked(progress.epoch), fresh=self.fresh
            ):
                progress.finished(run, row, here=here)
                rows.append(row)
                if run.kind == "timing":
                    self._timed.append(row)
                if keep:
                    self._done[run.name, run.seed] = run
                    self.rows[run.name, run.seed] = {**row, "data_source": self.data.name}
                    write_text(self.folder / "results.csv", csv_text(self.results))
                self.clock.check()
        return rows

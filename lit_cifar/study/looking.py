"""A study that trains seeds, looks at the answers, and goes on with the questions that have none."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import pandas as pd

from lit_cifar.study.answers import Answer, answer_questions, answered, open_runs
from lit_cifar.study.finished import history
from lit_cifar.study.looks import Look, first_seeds, read_looks, take_looks, write_looks
from lit_cifar.study.paired import TO_REACH
from lit_cifar.study.plan import plan_runs
from lit_cifar.study.session import RunKey, Session
from lit_cifar.utils.errors import UserError

LOOKS_FILE = "looks.json"


def look_until_settled(session: Session, *, seeds_at_once: int = 1) -> tuple[Look, ...]:
    """Train seeds until every question of a study is answered; a study with a fixed number of seeds looks once.

    Args:
        session: The study at work.
        seeds_at_once: How many seeds the engine trains for about the price of one.

    Returns:
        The looks taken.

    Raises:
        UserError: If the time budget is over before every run has a seed.
    """
    study, looking = session.study, Looking(session)
    before = read_looks(looking.file, plan=looking.plan)
    at_least = seeds_at_once if study.seeds == "auto" else None
    looks = take_looks(looking, cap=study.most_seeds, before=before, at_least=at_least)
    if not looks:
        raise UserError("The time budget was over before every run had a seed: give more, minutes=…")
    return looks


class Looking:
    """What `take_looks` needs of a study at work."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.study = session.study
        self.file = session.folder / LOOKS_FILE
        self._histories: dict[RunKey, pd.DataFrame] = {}

    @property
    def plan(self) -> str:
        """Changes when anything about the runs changes, but not with the number of seeds."""
        runs = self.session.prepared(plan_runs(self.study, self.session.data.arguments, seeds=[0]))
        return hashlib.sha256("".join(run.fingerprint for run in runs).encode()).hexdigest()[:16]

    def train(self, runs: Collection[str], seeds: int) -> int:
        """Train some runs until they have so many seeds; return how many seeds all of them have now."""
        with self.session.in_time():
            self.session.run(seeds=range(seeds), names=runs)
        return first_seeds(runs, self.session.rows, at_most=seeds)

    def runs_wanted(self, looks: Sequence[Look]) -> Collection[str]:
        """The runs of open questions; all of them before the first look."""
        return open_runs(self.answers(looks)) if looks else set(self.study.runs)

    def looked(self, looks: Sequence[Look]) -> None:
        """Keep the looks of a study that may take more, and say how many questions are answered."""
        if self.study.seeds == "auto":
            write_looks(looks, self.file, plan=self.plan)
        if answers := self.answers(looks):
            said = f"{looks[-1].seeds} seeds: {answered(answers)} questions answered."
            self.session.console.print(said, highlight=False)

    def answers(self, looks: Sequence[Look]) -> list[Answer]:
        """The answers at the last of these looks."""
        return answer_questions(
            self.study, self.session.results, self._histories_of_questions(), looks, self.session.timings
        )

    def _histories_of_questions(self) -> dict[RunKey, pd.DataFrame]:
        """The epochs of the runs whose questions are about epochs."""
        about_epochs = [question for question in self.study.questions if question.measure in TO_REACH]
        names = {name for question in about_epochs for name in (question.treatment, question.baseline)}
        for run in self.session.runs:
            if run.name in names and (run.name, run.seed) not in self._histories:
                self._histories[run.name, run.seed] = history(run, self.session.folder)
        return self._histories

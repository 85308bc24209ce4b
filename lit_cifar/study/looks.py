"""When a study looks at its results, and how its error rate is shared among the looks.

A study that trains seeds until its questions are settled looks at its results several times, and each look is a chance
to be wrong. A look that adds k of at most N seeds may therefore use the share w = k / N of the error rate. The shares
add up to 1, so that all looks together err as often as one (Bonferroni's inequality).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path
from typing import Protocol

from lit_cifar.utils.files import write_text

FIRST_LOOKS = (4, 6)
"""Numbers of seeds at the first looks. 8, 12, 16, 24, 32, 48 and so on follow."""


FIRST_ROUNDS, MOST_ROUNDS = 6, 24
"""How often runs are timed alone at first, and how often if that leaves a question about seconds open."""


class LookingStudy(Protocol):
    """What `take_looks` needs of a study."""

    def runs_wanted(self, looks: Sequence[Look]) -> Collection[str]:
        """The names of the runs that need more seeds after these looks; all of them before the first look."""

    def train(self, runs: Collection[str], seeds: int) -> int:
        """Train some runs until they have so many seeds; return how many seeds all of them have now."""

    def looked(self, looks: Sequence[Look]) -> None:
        """Called after each new look."""


@dataclass(frozen=True)
class Look:
    """A look at the results of a study: the number of seeds there are, and its share of the error rate."""

    seeds: int
    weight: float


def one_look(seeds: int) -> tuple[Look, ...]:
    """The only look of a study with a fixed number of seeds: it has the whole error rate."""
    return (Look(seeds, 1.0),)


def looks_at_rounds(rounds: int, *, may_be_more: bool) -> tuple[Look, ...]:
    """The looks at the rounds in which the runs of a question about seconds were timed.

    Args:
        rounds: How many rounds there are.
        may_be_more: Whether the study takes the most rounds if the first ones leave the question open.
    """
    if not may_be_more:
        return one_look(rounds)
    looks = add_look((), FIRST_ROUNDS, MOST_ROUNDS)
    return add_look(looks, MOST_ROUNDS, MOST_ROUNDS) if rounds >= MOST_ROUNDS else looks


def first_seeds(runs: Collection[str], done: Container[tuple[str, int]], *, at_most: int) -> int:
    """How many of the first seeds, 0, 1, 2 and so on, are done for all of some runs."""
    return next((seed for seed in range(at_most) if any((run, seed) not in done for run in runs)), at_most)


def next_seeds(seeds: int, cap: int, *, at_least: int = 1) -> int:
    """How many seeds there are at the next look.

    Args:
        seeds: How many there are now.
        cap: The most there may be.
        at_least: How many seeds to add at least: a stack of replicas trains many for the price of one.
    """
    sizes: Iterator[int] = chain(FIRST_LOOKS, (factor * 2**power for power in count(2) for factor in (2, 3)))
    return min(cap, next(size for size in sizes if size >= seeds + at_least))


def add_look(looks: Sequence[Look], seeds: int, cap: int) -> tuple[Look, ...]:
    """Add a look after so many seeds.

    Of the error rate that is left, it gets the part that its new seeds are of all seeds that may follow.

    Args:
        looks: The looks so far.
        seeds: How many seeds there are now.
        cap: The most there may be.

    Raises:
        ValueError: If there are no new seeds, or more than the cap.
    """
    seen = looks[-1].seeds if looks else 0
    if not seen < seeds <= cap:
        raise ValueError(f"seeds={seeds} is out of range: use more than {seen} and at most {cap}.")
    left = 1 - sum(look.weight for look in looks)
    return (*looks, Look(seeds, max(0.0, left * (seeds - seen) / (cap - seen))))


def take_looks(
    study: LookingStudy, *, cap: int, before: Sequence[Look] = (), at_least: int | None = 1
) -> tuple[Look, ...]:
    """Train seeds and look at the results until every question is answered, the cap is reached, or time is up.

    Args:
        study: What trains the seeds and answers the questions.
        cap: The most seeds there may be.
        before: Looks that were taken before the study was stopped; they are taken again, with their shares.
        at_least: How many seeds to add for each look at least; None adds all at once.

    Returns:
        The looks taken, `before` included as far as they were needed.
    """
    looks: tuple[Look, ...] = ()
    while runs := study.runs_wanted(looks):
        seen = looks[-1].seeds if looks else 0
        old = before[len(looks)] if len(looks) < len(before) else None
        wanted = old.seeds if old else next_seeds(seen, cap, at_least=at_least or cap)
        if seen >= cap or wanted > cap:
            break
        reached = study.train(runs, wanted)
        if old and reached == wanted:
            looks = (*looks, old)
        elif reached > seen and not old:
            looks = add_look(looks, reached, cap)
            study.looked(looks)
        if reached < wanted:
            break
    return looks


def write_looks(looks: Sequence[Look], path: Path, *, plan: str) -> None:
    """Keep the looks a study has taken, for when it is continued.

    Args:
        looks: The looks.
        path: The file.
        plan: What was looked at: looks at the results of another plan don't count.
    """
    write_text(path, json.dumps({"plan": plan, "looks": [asdict(look) for look in looks]}))


def read_looks(path: Path, *, plan: str | None = None) -> tuple[Look, ...]:
    """The looks a study has taken so far; none if there is no such file, or if it is about another plan than this."""
    if not path.is_file():
        return ()
    content = json.loads(path.read_text(encoding="utf-8"))
    is_wanted = plan is None or content["plan"] == plan
    return tuple(Look(**look) for look in content["looks"]) if is_wanted else ()

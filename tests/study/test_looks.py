"""When a study looks at its results, and each look's share of the error rate."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_cifar.study.looks import Look, add_look, next_seeds, one_look, read_looks, take_looks, write_looks


def schedule(cap: int, at_least: int = 1) -> list[int]:
    sizes, seeds = [], 0
    while seeds < cap:
        seeds = next_seeds(seeds, cap, at_least=at_least)
        sizes.append(seeds)
    return sizes


def test_looks_come_after_4_6_8_12_16_24_32_seeds() -> None:
    assert schedule(32) == [4, 6, 8, 12, 16, 24, 32]
    assert schedule(100) == [4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100]
    assert schedule(10) == [4, 6, 8, 10]
    assert schedule(2) == [2]


def test_a_stack_of_replicas_skips_looks() -> None:
    assert schedule(32, at_least=16) == [16, 32]
    assert schedule(32, at_least=8) == [8, 16, 24, 32]
    assert schedule(32, at_least=100) == [32]


def test_a_look_spends_the_part_that_its_new_seeds_are_of_the_cap() -> None:
    looks: tuple[Look, ...] = ()
    for seeds in (4, 6, 8, 12, 16, 24, 32):
        looks = add_look(looks, seeds, 32)
    assert [look.weight for look in looks] == pytest.approx([4 / 32, 2 / 32, 2 / 32, 4 / 32, 4 / 32, 8 / 32, 8 / 32])


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 40)), min_size=1, max_size=10))
def test_all_looks_together_never_spend_more_than_all(steps: list[tuple[int, int]]) -> None:
    """Whatever seeds are added, and however the cap is changed on the way."""
    looks: tuple[Look, ...] = ()
    seeds = 0
    for new, room in steps:
        seeds += new
        looks = add_look(looks, seeds, seeds + room)
    assert sum(look.weight for look in looks) <= 1 + 1e-9
    assert all(look.weight >= 0 for look in looks)
    assert all(one.seeds < other.seeds for one, other in itertools.pairwise(looks))


def test_the_cap_spends_all_and_a_later_look_has_nothing() -> None:
    looks = add_look(add_look((), 8, 16), 16, 16)
    assert sum(look.weight for look in looks) == pytest.approx(1)
    assert add_look(looks, 24, 32)[-1].weight == 0
    assert one_look(5) == (Look(5, 1.0),)


@pytest.mark.parametrize("seeds", [8, 6, 33])
def test_a_look_needs_new_seeds_up_to_the_cap(seeds: int) -> None:
    with pytest.raises(ValueError, match=f"seeds={seeds} .* more than 8 and at most 32"):
        add_look((Look(8, 0.25),), seeds, 32)


def test_looks_are_kept_for_the_continued_study(tmp_path: Path) -> None:
    path = tmp_path / "looks.json"
    assert read_looks(path, plan="a") == ()
    looks = add_look(add_look((), 4, 32), 12, 32)
    write_looks(looks, path, plan="a")
    assert read_looks(path, plan="a") == looks
    assert read_looks(path, plan="b") == ()


class Rehearsal:
    """A study without training: each run is wanted up to a number of seeds; time is up at some."""

    def __init__(self, wanted: dict[str, int], time_for: int = 1000) -> None:
        self.wanted = wanted
        self.time_for = time_for
        self.trained: list[tuple[list[str], int]] = []
        self.kept: list[Sequence[Look]] = []

    def runs_wanted(self, looks: Sequence[Look]) -> set[str]:
        seen = looks[-1].seeds if looks else 0
        return {run for run, seeds in self.wanted.items() if seeds > seen}

    def train(self, runs: Collection[str], seeds: int) -> int:
        self.trained.append((sorted(runs), seeds))
        return min(seeds, self.time_for)

    def looked(self, looks: Sequence[Look]) -> None:
        self.kept.append(looks)


def test_settled_runs_are_not_trained_on() -> None:
    study = Rehearsal({"a": 4, "b": 7, "c": 12})
    looks = take_looks(study, cap=32)
    assert study.trained == [(["a", "b", "c"], 4), (["b", "c"], 6), (["b", "c"], 8), (["c"], 12)]
    assert [look.seeds for look in looks] == [4, 6, 8, 12]
    assert study.kept[-1] == looks


def test_looking_ends_at_the_cap() -> None:
    looks = take_looks(Rehearsal({"a": 100}), cap=10)
    assert [look.seeds for look in looks] == [4, 6, 8, 10]
    assert sum(look.weight for look in looks) == pytest.approx(1)


def test_a_fixed_number_of_seeds_is_one_look() -> None:
    assert take_looks(Rehearsal({"a": 100}), cap=10, at_least=None) == one_look(10)


def test_a_continued_study_takes_its_looks_again_and_goes_on() -> None:
    """Stopped after a look of 5 seeds, when time was up; the shares of the error rate are kept."""
    before = take_looks(Rehearsal({"a": 100}, time_for=5), cap=32)
    assert [look.seeds for look in before] == [4, 5]
    again = Rehearsal({"a": 10})
    looks = take_looks(again, cap=32, before=before)
    assert looks[:2] == before
    assert [look.seeds for look in looks] == [4, 5, 6, 8, 12]
    assert again.kept[0] == looks[:3]  # the first two were kept already
    assert [look.weight for look in looks] == pytest.approx([n / 32 for n in (4, 1, 1, 2, 4)])


def test_looks_taken_before_are_not_taken_in_part() -> None:
    before = (Look(8, 0.25),)
    study = Rehearsal({"a": 100}, time_for=5)
    assert take_looks(study, cap=32, before=before) == ()
    assert study.kept == []

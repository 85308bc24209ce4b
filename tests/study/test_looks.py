"""When a study looks, and what each look may spend of the error rate."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_cifar.study.looks import Look, add_look, next_seeds, one_look, read_looks, write_looks


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
    assert read_looks(tmp_path / "looks.json") == ()
    looks = add_look(add_look((), 4, 32), 12, 32)
    write_looks(looks, tmp_path / "looks.json")
    assert read_looks(tmp_path / "looks.json") == looks

"""Maxout keeps every promise of a variant, and is what its paper says."""

from __future__ import annotations

import pytest
import torch
from lit_cifar_maxout import Maxout, MaxPieces

from lit_cifar.conformance import CHECKS, Check


@pytest.mark.parametrize("check", CHECKS)
def test_keeps_its_promises(check: Check) -> None:
    check(Maxout)


def test_a_unit_is_the_largest_of_its_pieces() -> None:
    pieces = torch.tensor([[1.0, 5.0, -2.0, -3.0]])
    assert MaxPieces(2)(pieces).tolist() == [[5.0, -2.0]]


def test_a_layer_keeps_the_second_moment() -> None:
    torch.manual_seed(0)
    first = Maxout(width=1000).build((3, 32, 32), 10)[1]
    assert first(torch.randn(200, 3072)).square().mean().item() == pytest.approx(1, abs=0.05)


def test_one_piece_is_too_few() -> None:
    with pytest.raises(ValueError, match="pieces=1"):
        Maxout(pieces=1)

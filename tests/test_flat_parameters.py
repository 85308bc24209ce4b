"""Flat parameters train to the same weights as plain ones."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import nn, optim

import variants
from lit_cifar.flat_parameters import ELEMENTWISE, PIECE_SIZE, FlatParameters, can_flatten


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    plain = variants.get("BatchNorm")(depth=4, width=64).build((3, 32, 32), 10)
    return plain, copy.deepcopy(plain)


@pytest.mark.parametrize("kind", ELEMENTWISE, ids=lambda kind: kind.__name__)
def test_200_steps_come_to_the_same_weights(kind: type[optim.Optimizer]) -> None:
    plain, flattened = networks()
    flat = FlatParameters(flattened.parameters())
    assert len(flat.pieces) > 1
    plain_optimizer, flat_optimizer = kind(plain.parameters(), lr=1e-3), kind(flat.pieces, lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        images = torch.randn(8, 3, 32, 32, generator=generator)
        labels = torch.randint(10, (8,), generator=generator)
        for network in (plain, flattened):
            F.cross_entropy(network(images), labels).backward()
        plain_optimizer.step()
        flat_optimizer.step()
        plain_optimizer.zero_grad()
        flat.zero_grad()
    for (name, expected), found in zip(plain.named_parameters(), flattened.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, msg=name)


def test_loading_weights_reaches_the_buffer() -> None:
    plain, flattened = networks()
    flat = FlatParameters(flattened.parameters())
    with torch.no_grad():
        for p in plain.parameters():
            p.fill_(7)
    flattened.load_state_dict(plain.state_dict())
    assert all((piece == 7).all() for piece in flat.pieces)


def test_pieces_are_no_larger_than_they_should_be() -> None:
    flat = FlatParameters([nn.Parameter(torch.randn(PIECE_SIZE + 1))])
    assert [len(piece) for piece in flat.pieces] == [PIECE_SIZE, 1]


def test_mixed_parameters_stay_as_they_are() -> None:
    frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    assert can_flatten([nn.Parameter(torch.zeros(1))])
    assert not can_flatten([nn.Parameter(torch.zeros(1)), frozen])
    assert not can_flatten([nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, dtype=torch.float64))])


def test_gradients_set_to_none_come_back_into_the_buffer() -> None:
    _, flattened = networks()
    flat = FlatParameters(flattened.parameters())
    flattened.zero_grad(set_to_none=True)
    flat.zero_grad()
    flattened(torch.randn(8, 3, 32, 32)).sum().backward()
    assert all(piece.grad is not None and piece.grad.any() for piece in flat.pieces)

"""Our NAdam is torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim

from lit_cifar.optimizers import FusedNAdam


def trajectory(kind: type[optim.Optimizer], steps: int, **options: object) -> tuple[torch.Tensor, optim.Optimizer]:
    generator = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.randn(1000, generator=generator))
    optimizer = kind([p], lr=0.01, **options)
    path = []
    for _ in range(steps):
        p.grad = torch.randn(1000, generator=generator) + p.detach()
        optimizer.step()
        path.append(p.detach().clone())
    return torch.stack(path), optimizer


@pytest.mark.parametrize(
    "options",
    [{}, {"betas": (0.8, 0.99)}, {"betas": (0.0, 0.99)}, {"eps": 1e-3}, {"momentum_decay": 0.1}, {"weight_decay": 0.1}],
    ids=str,
)
def test_steps_are_those_of_torch(options: dict[str, object]) -> None:
    ours, _ = trajectory(FusedNAdam, 200, **options)
    theirs, _ = trajectory(optim.NAdam, 200, **options)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_state_is_that_of_torch() -> None:
    _, ours = trajectory(FusedNAdam, 20)
    _, theirs = trajectory(optim.NAdam, 20)
    ours_state, theirs_state = ours.state_dict()["state"][0], theirs.state_dict()["state"][0]
    assert ours_state.keys() == theirs_state.keys()
    for name, value in theirs_state.items():
        torch.testing.assert_close(ours_state[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_closure_is_called_once_with_gradients() -> None:
    p = nn.Parameter(torch.ones(3))
    calls = []

    def closure() -> float:
        calls.append(torch.is_grad_enabled())
        p.grad = torch.ones(3)
        return 5.0

    assert FusedNAdam([p]).step(closure) == 5.0
    assert calls == [True]
    assert (p < 1).all()


def test_parameters_that_join_later_or_get_no_gradient_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    paths = []
    for kind in (FusedNAdam, optim.NAdam):
        generator.manual_seed(0)
        late, unused, early = (nn.Parameter(torch.randn(100, generator=generator)) for _ in range(3))
        optimizer = kind([late, unused, early], lr=0.01)
        for step in range(20):
            early.grad = torch.randn(100, generator=generator)
            late.grad = torch.randn(100, generator=generator) if step > 10 else None
            optimizer.step()
        paths.append(torch.stack([late, unused, early]).detach())
    torch.testing.assert_close(*paths, rtol=1e-4, atol=1e-5)


def test_a_learning_rate_of_zero_moves_nothing() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    FusedNAdam([p], lr=0.0).step()
    assert (p == 1).all()

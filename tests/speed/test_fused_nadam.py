"""FusedNAdam takes the steps of torch's NAdam."""

from __future__ import annotations

import pickle
from copy import deepcopy
from io import BytesIO

import pytest
import torch
from torch import nn, optim

from lit_cifar.speed.fused_nadam import FusedNAdam
from lit_cifar.speed.memory import arrange

DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))


def trajectory(
    kind: type[optim.Optimizer], steps: int, device: str = "cpu", **options: object
) -> tuple[torch.Tensor, optim.Optimizer]:
    generator = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.randn(1000, generator=generator).to(device))
    optimizer = kind([p], lr=0.01, **options)
    path = []
    for _ in range(steps):
        p.grad = torch.randn(1000, generator=generator).to(device) + p.detach()
        optimizer.step()
        path.append(p.detach().clone())
    return torch.stack(path), optimizer


@pytest.mark.parametrize(
    "options",
    [{}, {"betas": (0.8, 0.99)}, {"betas": (0.0, 0.99)}, {"eps": 1e-3}, {"momentum_decay": 0.1}, {"weight_decay": 0.1}],
    ids=str,
)
@pytest.mark.parametrize("device", DEVICES)
def test_steps_are_those_of_torch(options: dict[str, object], device: str) -> None:
    ours, _ = trajectory(FusedNAdam, 200, device, **options)
    theirs, _ = trajectory(optim.NAdam, 200, device, **options)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_state_is_that_of_torch(device: str) -> None:
    _, ours = trajectory(FusedNAdam, 20, device)
    _, theirs = trajectory(optim.NAdam, 20, device)
    ours_state, theirs_state = ours.state_dict()["state"][0], theirs.state_dict()["state"][0]
    assert ours_state.keys() == theirs_state.keys()
    for name, value in theirs_state.items():
        torch.testing.assert_close(ours_state[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_after_a_state_is_loaded_are_the_same_bit_for_bit(dtype: torch.dtype) -> None:
    def steps(optimizer: optim.Optimizer, count: int) -> None:
        for _ in range(count):
            p.grad = p.detach().sin()
            optimizer.step()

    p = nn.Parameter(torch.linspace(-1, 1, 50, dtype=dtype))
    whole = FusedNAdam([p], lr=0.01)
    steps(whole, 3)
    state, start = deepcopy(whole.state_dict()), p.detach().clone()
    steps(whole, 5)
    expected = p.detach().clone()
    p.data.copy_(start)
    resumed = FusedNAdam([p], lr=0.01)
    resumed.load_state_dict(state)
    steps(resumed, 5)
    assert torch.equal(p.detach(), expected)


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


def test_parameters_that_lie_together_are_taken_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where their gradients do so, too; where not, and where one is moved on the way, nothing else changes."""
    taken = []
    kernel = torch._fused_adam_

    def counted(parameters: list[torch.Tensor], *arguments: object, **options: object) -> None:
        taken.append(len(parameters))
        kernel(parameters, *arguments, **options)

    monkeypatch.setattr(torch, "_fused_adam_", counted)
    paths, states = [], []
    for kind in (FusedNAdam, optim.NAdam):
        generator = torch.Generator().manual_seed(0)
        parameters = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (7,), (5, 2))]
        arrange(parameters, [[0], [2, 1]])
        optimizer = kind(parameters, lr=0.01)
        for step in range(40):
            gradients = torch.randn(29, generator=generator)
            parameters[0].grad, parameters[2].grad = gradients[:12].view(3, 4), gradients[12:22].view(5, 2)
            parameters[1].grad = gradients[22:].clone() if step % 10 == 9 else gradients[22:]
            optimizer.step()
            if step == 29:
                parameters[1].data = parameters[1].detach().clone()
        paths.append([p.detach() for p in parameters])
        states.append([optimizer.state[p]["exp_avg"] for p in parameters])
    torch.testing.assert_close(paths[0], paths[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(states[0], states[1], rtol=1e-4, atol=1e-5)
    assert taken == [2] * 9 + [3] + [2] * 9 + [3] + [2] * 9 + [3] + [3] * 10


def test_hooks_are_called_once_although_torch_s_own_class_is_used_too() -> None:
    optim.NAdam([nn.Parameter(torch.zeros(1))])  # now torch's step calls hooks
    p = nn.Parameter(torch.ones(3))
    optimizer = FusedNAdam([p], weight_decay=0.1)
    calls: list[object] = []
    optimizer.register_step_post_hook(lambda *_: calls.append(_))
    p.grad = torch.ones(3)
    optimizer.step()
    assert len(calls) == 1


def test_a_learning_rate_of_zero_moves_nothing() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    FusedNAdam([p], lr=0.0).step()
    assert (p == 1).all()


def continued(optimizer: optim.Optimizer, parameters: list[nn.Parameter], seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(10):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return [p.detach().clone() for p in parameters]


@pytest.mark.parametrize("kind", [FusedNAdam, optim.NAdam])
def test_its_state_is_that_of_each_parameter(kind: type[optim.Optimizer]) -> None:
    """Loaded by another optimizer, torch's own too, after saving or as it is, for as long as both go on."""
    parameters = [nn.Parameter(torch.ones(size)) for size in (5, 7)]
    first = FusedNAdam(parameters, lr=0.01)
    continued(first, parameters, seed=0)
    saved = BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    for state in (torch.load(saved, weights_only=True), first.state_dict()):
        others = [nn.Parameter(p.detach().clone()) for p in parameters]
        second = kind(others, lr=0.01)
        continued(second, others, seed=2)
        second.load_state_dict(deepcopy(state))
        for mine, other in zip(parameters, others, strict=True):
            other.data.copy_(mine)
        found = continued(second, others, seed=1)
        expected_from = pickle.loads(pickle.dumps((first, parameters)))  # noqa: S301
        torch.testing.assert_close(found, continued(*expected_from, seed=1), rtol=1e-5, atol=1e-6)
    assert {float(state["step"]) for state in first.state.values()} == {10.0}
    assert {float(state["step"]) for state in second.state.values()} == {20.0}


def test_parameters_of_two_kinds() -> None:
    paths = []
    for kind in (FusedNAdam, optim.NAdam):
        parameters = [nn.Parameter(torch.ones(5, dtype=dtype)) for dtype in (torch.float32, torch.float64)]
        optimizer = kind(parameters, lr=0.01)
        for step in range(1, 6):
            for p in parameters:
                p.grad = torch.full_like(p, step)
            optimizer.step()
        paths.append([p.detach() for p in parameters])
    torch.testing.assert_close(*paths)

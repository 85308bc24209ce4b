"""Loss and gradients from one compiled function: what it reads, writes and leaves alone."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import variants
from lit_cifar.data.normalization import Scale
from lit_cifar.speed.compiled_step import CompiledGradients, guards_to_check
from lit_cifar.speed.memory import contiguous_groups
from lit_cifar.training.loss import loss_and_totals

pytestmark = pytest.mark.compiles


def test_compiling_leaves_network_and_random_numbers_alone() -> None:
    torch.manual_seed(0)
    network = variants.get("SwishDropout")(depth=1, width=8).build((3, 32, 32), 10)
    batch = torch.rand(16, 3, 32, 32), torch.arange(16) % 10
    before, random = {name: value.clone() for name, value in network.state_dict().items()}, torch.get_rng_state()
    compiled = CompiledGradients(network, loss_and_totals, batch)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    loss, found, gradients = compiled(batch)
    torch.set_rng_state(random)
    network.load_state_dict(before)
    expected, expected_totals = loss_and_totals(network, batch)
    expected.backward()
    torch.testing.assert_close((loss, found), (expected.detach(), expected_totals))
    for parameter, gradient in gradients:
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


def test_buffers_are_written_into_where_the_network_does() -> None:
    network = nn.Sequential(Scale.empty((3, 32, 32)), nn.Flatten(), nn.Linear(3072, 10), nn.BatchNorm1d(10))
    batch = torch.rand(4, 3, 32, 32), torch.arange(4)
    compiled = CompiledGradients(network, loss_and_totals, batch)
    before = {name: (buffer.clone(), buffer._version) for name, buffer in network.named_buffers()}
    compiled(batch)
    written = {name for name, buffer in network.named_buffers() if buffer._version != before[name][1]}
    changed = {name for name, buffer in network.named_buffers() if not torch.equal(buffer, before[name][0])}
    assert written == changed == {"3.running_mean", "3.running_var", "3.num_batches_tracked"}


def test_the_last_gradients_are_given_up_before_new_ones_are_found() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    compiled = CompiledGradients(network, loss_and_totals, (torch.zeros(4, 3, 32, 32), torch.arange(4)))
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    compiled((torch.rand(4, 3, 32, 32), torch.arange(4)))
    assert all(p.grad is None for p in network.parameters())


def test_parameters_lie_as_gradients_found_together_do() -> None:
    network = variants.get("ELU")(depth=9, width=8).build((3, 32, 32), 10)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    compiled = CompiledGradients(network, loss_and_totals, (torch.zeros(4, 3, 32, 32), torch.arange(4)))
    _, _, found = compiled((torch.rand(4, 3, 32, 32), torch.arange(4)))
    parameters, gradients = zip(*found, strict=True)
    # The first and the last layer are alone; the others' weights are neighbours, and their biases.
    assert sorted(map(len, contiguous_groups(parameters))) == [
        1,
        1,
        1,
        1,
        8,
        8,
    ]  # first and last layer; weights and biases
    assert sorted(contiguous_groups(parameters)) == sorted(contiguous_groups(gradients))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_batch_normalization_can_be_thawed() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.BatchNorm1d(10)).eval()
    compiled = CompiledGradients(network, loss_and_totals, (torch.zeros(4, 3, 32, 32), torch.arange(4)))
    compiled((torch.rand(4, 3, 32, 32), torch.arange(4)))
    assert network[2].num_batches_tracked == 0
    network.train()
    compiled((torch.rand(4, 3, 32, 32), torch.arange(4)))
    assert network[2].num_batches_tracked == 1
    assert network[2].running_mean.abs().min() > 0


FACTOR = 1.0


class _Scaled(nn.Linear):
    """Logits times a global of its module."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * FACTOR


def test_what_may_change_on_the_way_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer's setting, and a global of the network's own module."""
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.0), _Scaled(3072, 10))
    batch = torch.rand(4, 3, 32, 32), torch.arange(4)
    compiled = CompiledGradients(network, loss_and_totals, batch)
    before, _, _ = compiled(batch)
    assert before == pytest.approx(loss_and_totals(network, batch)[0].item())
    network[1].p = 1.0
    dropped, _, _ = compiled(batch)
    assert dropped == pytest.approx(loss_and_totals(network, batch)[0].item())
    monkeypatch.setitem(globals(), "FACTOR", 0.0)
    nothing, _, _ = compiled(batch)
    assert nothing == pytest.approx(math.log(10))
    assert len({before.item(), dropped.item(), nothing.item()}) == 3


def test_globals_of_torch_and_ours_are_not_looked_at() -> None:
    unchanging = ["__import__('torch').nn", "G['loss_and_totals']", "G['__builtins_dict___0']['len']"]
    unchanging += ["G['__import_torch_dot_nn_dot_functional'].linear", "G['__import_lit_cifar_dot_steps'].F"]
    may_change = ["", "network.training", "parameters['weight']", "G['__import_mine'].G", "G['__import_torchy'].RATE"]
    guards = [SimpleNamespace(name=name) for name in [*unchanging, *may_change]]
    assert list(guards_to_check(guards)) == [False] * len(unchanging) + [True] * len(may_change)


class _Counts(nn.Module):
    """Replaces its buffer by another."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return images


def test_a_network_that_replaces_its_buffers_is_not_compiled() -> None:
    network = nn.Sequential(_Counts(), nn.Flatten(), nn.Linear(3072, 10))
    with pytest.raises(ValueError, match=r"replaces its buffer 0\.calls"):
        CompiledGradients(network, loss_and_totals, (torch.zeros(4, 3, 32, 32), torch.arange(4)))
    assert network[0].calls == 0


def test_matrix_products_do_not_add_biases() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.ELU(), nn.Linear(8, 10))
    batch = torch.rand(4, 3, 32, 32), torch.arange(4)
    compiled = CompiledGradients(network, loss_and_totals, batch)
    with torch.autograd.profiler.profile() as profile:
        compiled(batch)
    assert {event.key for event in profile.key_averages()} & {"aten::mm", "aten::addmm"} == {"aten::mm"}


@torch._dynamo.config.patch(recompile_limit=1)
def test_more_kinds_of_networks_than_torch_keeps_compiled_without_a_warning() -> None:
    warned = _Records()
    logging.getLogger("torch._dynamo.convert_frame").addHandler(warned)
    batch = torch.rand(4, 3, 32, 32), torch.arange(4)
    for width in (2, 3):
        network = nn.Sequential(nn.Flatten(), nn.Linear(3072, width), nn.Linear(width, 10))
        loss, _, _ = CompiledGradients(network, loss_and_totals, batch)(batch)
        assert loss.isfinite()
    logging.getLogger("torch._dynamo.convert_frame").removeHandler(warned)
    assert not warned.messages


class _Records(logging.Handler):
    """Keeps the messages of a logger."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

"""A stacked network computes what each of its networks computes alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

import variants
from lit_cifar.data.normalization import Scale
from lit_cifar.replicas.dropout import SeededDropout
from lit_cifar.replicas.network import NotStackableError, StackedNetwork
from lit_cifar.training.loss import loss_and_totals

REPLICAS = 3
SMALL = {"depth": 2, "width": 8}


def network(name: str, seed: int) -> nn.Module:
    """A variant's network in double precision, small where it can be, without dropout."""
    cls = variants.get(name)
    torch.manual_seed(seed)
    sizes = {key: value for key, value in SMALL.items() if key in cls.hyperparameters()}
    rates = {key: 0.0 for key in ("rate", "dropout") if key in cls.hyperparameters()}
    return nn.Sequential(Scale.empty((3, 32, 32)), cls(**sizes, **rates).build((3, 32, 32), 10)).double()


def batches(seed: int = 0, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (REPLICAS, size, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.randint(10, (REPLICAS, size), generator=generator)


@pytest.mark.parametrize("name", variants.available())
def test_losses_gradients_and_buffers_are_those_of_single_networks(name: str) -> None:
    alone = [network(name, seed) for seed in range(REPLICAS)]
    stack = StackedNetwork(alone, range(REPLICAS))
    images, labels = batches()
    loss, totals = loss_and_totals(stack, (images, labels))
    loss.backward()
    for k, single in enumerate(alone):
        single_loss, single_totals = loss_and_totals(single, (images[k], labels[k]))
        single_loss.backward()
        assert torch.allclose(totals[k], single_totals, rtol=0, atol=1e-12)
        for key, parameter in single.named_parameters():
            assert torch.allclose(stack.tensors()[key].grad[k], parameter.grad, rtol=0, atol=1e-12)
        for key, buffer in single.named_buffers():
            assert torch.allclose(stack.tensors()[key][k].double(), buffer.double(), rtol=0, atol=1e-12)


def test_the_state_of_a_replica_is_that_of_a_single_network() -> None:
    alone = [network("BatchNorm", seed) for seed in range(REPLICAS)]
    stack = StackedNetwork(alone, range(REPLICAS))
    for k, single in enumerate(alone):
        state = {name: tensor[k] for name, tensor in stack.each.state_dict().items()}
        assert list(state) == list(single.state_dict())
        assert all(torch.equal(state[key], value) for key, value in single.state_dict().items())


def test_dropped_replicas_leave_the_others_as_they_were() -> None:
    alone = [network("BatchNorm", seed) for seed in range(REPLICAS)]
    stack = StackedNetwork(alone, range(REPLICAS))
    parameters = list(stack.parameters())
    stack.keep([0, 2])
    assert stack.replicas == 2
    assert all(after is before for after, before in zip(stack.parameters(), parameters, strict=True))
    images, _ = batches()
    logits = stack.eval()(images[[0, 2]])
    assert torch.allclose(logits[1], alone[2].eval()(images[2]), rtol=0, atol=1e-12)


def test_networks_of_different_shapes_cannot_be_stacked() -> None:
    with pytest.raises(NotStackableError, match="don't have the same parameters"):
        StackedNetwork([nn.Linear(3, 2), nn.Linear(3, 4)], [0, 1])


def dropped(layer: nn.Module, seeds: Sequence[int], steps: int = 3, rows: int = 500) -> Tensor:
    """What a stack of this layer gives for ones in training, [steps, R, rows, 20]; the input's slope is 1."""
    network = nn.Sequential(nn.Linear(20, 20, bias=False), layer)
    nn.init.eye_(network[0].weight)
    stack = StackedNetwork([network] * len(seeds), seeds).train()
    ones = torch.ones(len(seeds), rows, 20)
    return torch.stack([stack(ones) for _ in range(steps)]).detach()


@pytest.mark.parametrize("layer", [nn.Dropout(0.3), nn.AlphaDropout(0.3)], ids=["dropout", "alpha dropout"])
def test_dropout_has_torchs_distribution(layer: nn.Module) -> None:
    torch.manual_seed(0)
    found, expected = dropped(layer, [0, 1]), layer.train()(torch.ones(60_000))
    assert found.unique().tolist() == pytest.approx(expected.unique().tolist(), abs=1e-5)
    kept = found == found.max()
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.01)
    patterns = kept.flatten(2).flatten(0, 1).float()  # of each step and replica
    correlations = torch.corrcoef(patterns) - torch.eye(len(patterns))
    assert correlations.abs().max() < 0.05
    neighbours = torch.corrcoef(kept.view(-1, 20).T.float()) - torch.eye(20)
    assert neighbours.abs().max() < 0.07


def test_a_replica_drops_the_same_units_in_every_stack() -> None:
    assert torch.equal(dropped(nn.Dropout(0.5), [7])[:, 0], dropped(nn.Dropout(0.5), [3, 7, 5])[:, 1])


def test_a_dropout_layer_in_two_places_is_seeded_in_both() -> None:
    shared = nn.Dropout(0.5)
    stack = StackedNetwork([nn.Sequential(nn.Linear(20, 20), shared, nn.Linear(20, 20), shared)], [4]).train()
    assert [type(module) for module in stack.each[1::2]] == [SeededDropout, SeededDropout]
    stack(torch.ones(1, 8, 20))
    assert stack.steps() == [1, 1]


class CalledTwice(nn.Sequential):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(super().forward(images))


def test_a_layer_that_is_called_twice_goes_on_from_its_own_step() -> None:
    stack = StackedNetwork([CalledTwice(nn.Linear(20, 20), nn.Dropout(0.5))], [4]).train()
    images = torch.ones(1, 8, 20)
    stack(images)
    assert stack.steps() == [2]
    second = stack(images)
    stack.set_steps([2])
    assert torch.equal(stack(images), second)


def test_a_module_in_two_places_is_refused() -> None:
    shared = nn.Linear(20, 20)
    with pytest.raises(NotStackableError, match=r"^0 is in several places of the network"):
        StackedNetwork([nn.Sequential(shared, nn.ReLU(), shared)], [4])


def test_dropout_goes_on_from_a_step() -> None:
    stack = StackedNetwork([nn.Sequential(nn.Linear(20, 20), nn.Dropout(0.5))], [4]).train()
    images = torch.ones(1, 8, 20)
    steps = [stack(images) for _ in range(3)]
    stack.set_steps(1)
    assert torch.equal(stack(images), steps[1])
    assert not torch.equal(steps[1], steps[2])
    assert torch.equal(stack.eval()(images), stack(images))

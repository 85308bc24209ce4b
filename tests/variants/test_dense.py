"""The choices of `Dense` and `Residual`: initialization, activation, normalization, dropout and connections."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

import variants
from tests.variants.layers import IMAGE_SHAPE, dense_layers, positions
from variants.techniques import Activation


@pytest.mark.parametrize(("initialization", "variance_times_inputs"), [("he", 2), ("glorot", 4 / 3), ("lecun", 1)])
def test_initializations_of_dense(initialization: str, variance_times_inputs: float) -> None:
    torch.manual_seed(0)
    network = variants.get("Dense")(depth=2, width=400, initialization=initialization).build(IMAGE_SHAPE, 200)
    output = dense_layers(network)[-1]  # 400 inputs, 200 units
    assert output.weight.detach().var() * 400 == pytest.approx(variance_times_inputs, rel=0.03)


def test_equal_weights_stay_equal() -> None:
    torch.manual_seed(0)
    network = variants.get("Dense")(depth=3, width=10, initialization="equal", activation="tanh").build(IMAGE_SHAPE, 10)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    images, labels = torch.randn(32, *IMAGE_SHAPE), torch.randint(10, (32,))
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    for layer in dense_layers(network)[:-1]:
        torch.testing.assert_close(layer.weight, layer.weight[:1].expand_as(layer.weight), rtol=1e-4, atol=1e-7)
    assert dense_layers(network)[0].weight[0].std() > 1e-6  # it did learn something


def test_biases_and_dropout_of_dense() -> None:
    torch.manual_seed(0)
    network = variants.get("Dense")(depth=2, width=500, bias_std=0.5, dropout=0.3).build(IMAGE_SHAPE, 10)
    assert network.hidden_02[0].bias.detach().std() == pytest.approx(0.5, rel=0.1)
    assert positions(network, nn.Dropout) == [1, 2]
    assert positions(variants.get("Dense")(depth=2).build(IMAGE_SHAPE, 10), nn.Dropout) == []


@pytest.mark.parametrize("activation", get_args(Activation))
def test_activations_of_dense(activation: str) -> None:
    """Against torch's functions; the random slopes of `rrelu` are their mean, 11/48, in evaluation mode."""
    functions = {"leaky_relu": 0.01, "prelu": 0.25, "rrelu": 11 / 48}
    network = variants.get("Dense")(depth=1, width=6, activation=activation).build(IMAGE_SHAPE, 10).eval()
    values = torch.linspace(-4, 4, 5)[:, None].expand(-1, 6).clone()
    expected = (
        nn.functional.leaky_relu(values, functions[activation])
        if activation in functions
        else getattr(torch.nn.functional, activation)(values)
    )
    torch.testing.assert_close(network.hidden_01[1](values), expected)


def test_rrelu_is_random_in_training_only() -> None:
    layer = variants.get("Dense")(depth=1, width=6, activation="rrelu").build(IMAGE_SHAPE, 10).hidden_01[1]
    negative = -torch.ones(1000)
    slopes = -layer.train()(negative)
    assert 1 / 8 <= slopes.min() < 0.13
    assert 0.32 < slopes.max() <= 1 / 3
    assert layer.eval()(negative).unique().numel() == 1


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize(
    ("normalization", "kind"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm), ("rms", nn.RMSNorm)]
)
def test_normalizations_of_dense(normalization: str, kind: type[nn.Module], position: str) -> None:
    torch.manual_seed(0)
    variant = variants.get("Dense")(depth=1, width=50, normalization=normalization, position=position, dropout=0.1)
    network = variant.build(IMAGE_SHAPE, 10)
    order = [kind, nn.ReLU] if position == "before" else [nn.ReLU, kind]
    assert [type(module) for module in network.hidden_01] == [nn.Linear, *order, nn.Dropout]
    normalized = network.hidden_01[order.index(kind) + 1](torch.randn(40, 50) * 7 + 3)
    images, units = normalized.square().mean(1), normalized.square().mean(0)
    torch.testing.assert_close(
        units if normalization == "batch" else images,
        torch.ones(50 if kind is nn.BatchNorm1d else 40),
        atol=0.01,
        rtol=0,
    )


def test_batch_norm_options_reach_every_layer() -> None:
    for name in ("BatchNorm", "SwishBatchNorm", "SwishDropout"):
        network = variants.get(name)(depth=3, momentum=0.01, eps=1e-3).build(IMAGE_SHAPE, 10)
        found = [(m.momentum, m.eps) for m in network.modules() if isinstance(m, nn.BatchNorm1d)]
        assert found == [(0.01, 1e-3)] * (3 if name == "BatchNorm" else 4)


def test_standardized_weights_do_not_depend_on_offset_and_scale() -> None:
    torch.manual_seed(0)
    network = variants.get("Dense")(depth=2, width=40, weight_standardization=True).build(IMAGE_SHAPE, 10)
    layer, inputs = network.hidden_01[0], torch.randn(500, 3072)
    before = layer(inputs).detach()
    assert before.var() == pytest.approx(1, abs=0.05)
    with torch.no_grad():
        layer.weight.mul_(3).add_(0.5)
    torch.testing.assert_close(layer(inputs).detach(), before, atol=1e-3, rtol=1e-3)
    assert type(network.output[0]) is nn.Linear


@pytest.mark.parametrize(
    ("every", "names"),
    [(1, ["hidden_02", "hidden_03", "hidden_04"]), (2, ["hidden_02_03", "hidden_04"]), (5, ["hidden_02_04"])],
)
def test_residual_connections(every: int, names: list[str]) -> None:
    network = variants.get("Residual")(depth=4, width=8, every=every).build(IMAGE_SHAPE, 10).eval()
    parts = dict(network.named_children())
    assert list(parts) == ["flatten", "hidden_01", *names, "output"]
    signal = torch.randn(5, 8)
    for name in names:
        inner = nn.Sequential(*parts[name].children())
        torch.testing.assert_close(parts[name](signal), signal + inner(signal))
    assert sum(isinstance(m, nn.Linear) for m in network.modules()) == 5


def test_identity_connections_carry_the_gradient_through_80_layers() -> None:
    """The gradient of the first layer beside that of the last: without them it has vanished."""
    ratios = {}
    for name in ("Dense", "Residual"):
        torch.manual_seed(0)
        network = variants.get(name)(depth=80, width=30, activation="sigmoid", initialization="glorot").build(
            IMAGE_SHAPE, 10
        )
        nn.functional.cross_entropy(network(torch.randn(64, *IMAGE_SHAPE)), torch.arange(64) % 10).backward()
        layers = dense_layers(network)
        ratios[name] = (layers[1].weight.grad.norm() / layers[-2].weight.grad.norm()).item()
    assert ratios["Dense"] < 0.1
    assert ratios["Residual"] > 0.5

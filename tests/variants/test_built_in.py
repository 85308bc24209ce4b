"""What every variant promises, and what each built-in one is."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

import variants
from variants import DenseVariant, Variant
from variants.techniques import Activation

IMAGE_SHAPE = (3, 32, 32)


def dense_layers(network: nn.Module) -> list[nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


@pytest.fixture(params=variants.available())
def variant(request: pytest.FixtureRequest) -> Variant:
    return variants.get(request.param)()


def test_names_its_paper_rate_and_purpose(variant: Variant) -> None:
    assert variant.reference
    assert 0 < variant.learning_rate < 1
    assert variant.description().endswith(".")


def test_is_a_plain_value(variant: Variant) -> None:
    assert variants.from_spec(variants.to_spec(variant)) == variant
    assert eval(repr(variant), {type(variant).__name__: type(variant)}) == variant  # noqa: S307 - our own repr
    assert variant != type(variant)(scaling="unit")


@pytest.mark.parametrize(
    "name", ["ELU", "BatchNorm", "SELU", "AlphaDropout", "Swish", "SwishBatchNorm", "SwishDropout"]
)
def test_dense_shape(name: str) -> None:
    network = variants.get(name)().build(IMAGE_SHAPE, 10)
    layers = dense_layers(network)
    assert [layer.out_features for layer in layers] == [100] * 20 + [10]
    assert layers[0].in_features == 3072


@pytest.mark.parametrize(
    ("name", "variance_times_inputs"),
    [
        ("ELU", 2),
        ("BatchNorm", 2),
        ("Swish", 2),
        ("SwishBatchNorm", 2),
        ("SwishDropout", 2),
        ("SELU", 1),
        ("AlphaDropout", 1),
    ],
)
def test_initialization(name: str, variance_times_inputs: float) -> None:
    torch.manual_seed(0)
    for layer in dense_layers(variants.get(name)(depth=3, width=400).build(IMAGE_SHAPE, 400)):
        values = layer.weight.detach() * layer.in_features**0.5
        assert values.mean().abs() < 0.02
        assert values.var() == pytest.approx(variance_times_inputs, rel=0.03)
        assert (values.abs() > 3 * variance_times_inputs**0.5).float().mean() == pytest.approx(
            0.0027, rel=0.5
        )  # normal
        assert not layer.bias.any()


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


def test_selu_normalizes_itself_through_all_layers() -> None:
    torch.manual_seed(0)
    network = variants.get("SELU")(width=300).build(IMAGE_SHAPE, 10)
    signal = torch.randn(2000, *IMAGE_SHAPE)
    for name, block in network.named_children():
        signal = block(signal).detach()
        if name.startswith("hidden"):
            assert signal.mean(0).mean().abs() < 0.1, name
            assert signal.var(0).mean() == pytest.approx(1, abs=0.25), name


def test_elu_does_not() -> None:
    torch.manual_seed(0)
    network = variants.get("ELU")(width=300).build(IMAGE_SHAPE, 10)
    signal = torch.randn(500, *IMAGE_SHAPE)
    for block in list(network.children())[:-1]:
        signal = block(signal)
    assert not 0.75 < signal.var(0).mean() < 1.25


def positions(network: nn.Module, kind: type[nn.Module]) -> list[int]:
    """Which hidden layers (1 is nearest the image) hold a module of a kind."""
    blocks = [(name, block) for name, block in network.named_children() if name.startswith("hidden")]
    return [int(name[-2:]) for name, block in blocks if any(isinstance(m, kind) for m in block)]


def test_alpha_dropout_layers() -> None:
    last = variants.get("AlphaDropout")(depth=4, rate=0.2).build(IMAGE_SHAPE, 10)
    every = variants.get("AlphaDropout")(depth=4, layers="all").build(IMAGE_SHAPE, 10)
    assert positions(last, nn.AlphaDropout) == [4]
    assert positions(every, nn.AlphaDropout) == [1, 2, 3, 4]
    assert last.hidden_04[-1].p == 0.2


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    torch.manual_seed(0)
    signal: Tensor = nn.AlphaDropout(0.3)(torch.randn(1_000_000))
    assert signal.mean().abs() < 0.01
    assert signal.var() == pytest.approx(1, abs=0.01)


def test_batch_norm_position() -> None:
    kinds = {
        position: [
            type(m) for m in variants.get("BatchNorm")(depth=1, position=position).build(IMAGE_SHAPE, 10).hidden_01
        ]
        for position in ("before", "after")
    }
    assert kinds == {
        "before": [nn.Linear, nn.BatchNorm1d, nn.ELU],
        "after": [nn.Linear, nn.ELU, nn.BatchNorm1d],
    }


def test_swish_dropout_sits_before_the_last_normalizations() -> None:
    network = variants.get("SwishDropout")(depth=5, last_layers=2).build(IMAGE_SHAPE, 10)
    assert positions(network, nn.Dropout) == [4, 5]
    assert [type(m) for m in network.hidden_05] == [nn.Linear, nn.Dropout, nn.BatchNorm1d, nn.SiLU]
    assert [type(m) for m in network.output] == [nn.BatchNorm1d, nn.Linear]


def test_every_stage_of_the_convolutional_network_halves_the_image_and_doubles_the_channels() -> None:
    network = variants.get("ConvNet")(stages=3, channels=4).build(IMAGE_SHAPE, 7).eval()
    shapes, signal = {}, torch.randn(2, *IMAGE_SHAPE)
    for name, part in network.named_children():
        signal = part(signal)
        shapes[name] = tuple(signal.shape[1:])
    assert shapes == {
        "conv_01": (4, 16, 16),
        "conv_02": (4, 16, 16),
        "conv_03": (8, 8, 8),
        "conv_04": (8, 8, 8),
        "conv_05": (16, 4, 4),
        "conv_06": (16, 4, 4),
        "pool": (16,),
        "output": (7,),
    }
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.2]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ELU", {"depth": 0}, "depth=0"),
        ("ELU", {"width": -1}, "width=-1"),
        ("ELU", {"scaling": "log"}, "'unit', 'standardize'"),
        ("AlphaDropout", {"rate": 1.0}, "rate=1.0"),
        ("AlphaDropout", {"layers": "first"}, "'last', 'all'"),
        ("Dense", {"activation": "step"}, "'relu', 'leaky_relu'"),
        ("Dense", {"bias_std": -1.0}, "bias_std=-1.0"),
        ("Dense", {"dropout": 1.0}, "dropout=1.0"),
        ("BatchNorm", {"position": "beside"}, "'before', 'after'"),
        ("Dense", {"normalization": "instance"}, "'none', 'batch', 'layer', 'rms'"),
        ("BatchNorm", {"momentum": 0.0}, "momentum=0.0"),
        ("BatchNorm", {"eps": -1e-5}, "eps=-1e-05"),
        ("SwishBatchNorm", {"momentum": 1.5}, "momentum=1.5"),
        ("Residual", {"every": 0}, "every=0"),
        ("SwishDropout", {"last_layers": 0}, "last_layers=0"),
        ("ConvNet", {"stages": 0}, "stages=0"),
        ("ConvNet", {"channels": 0}, "channels=0"),
        ("ConvNet", {"rate": -0.1}, "rate=-0.1"),
    ],
)
def test_arguments_out_of_range(name: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        variants.get(name)(**arguments)


def test_hyperparameters_of_base_classes_pass_through_kwargs() -> None:
    class Wide(DenseVariant):
        """Passes everything on."""

        def __init__(self, *, extra: int = 1, **dense: object) -> None:
            super().__init__(**dense)
            self.extra = extra

        def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
            return [dense]

    assert list(Wide.hyperparameters()) == ["extra", "depth", "width", "scaling"]
    assert Wide(extra=2, depth=3).init_args == {"extra": 2, "depth": 3, "width": 100, "scaling": "standardize"}

"""The contract of every variant, and the properties of each built-in one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import variants
from tests.variants.layers import IMAGE_SHAPE, dense_layers, positions
from variants import DenseVariant, Variant


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

"""Masks drop what torch's own layers drop, at the right rate, and leave the network as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lit_cifar.uncertainty import Draw, Masks, SeededMasks, dropout_layers, masked_dropout, mc_predict
from lit_cifar.uncertainty.masks import _starts
from lit_cifar.uncertainty.switch import takes_masks
from lit_cifar.utils.errors import UserError


def draw(rate: float, shape: tuple[int, ...], samples: range, images: range, *, call: int = 0) -> Draw:
    return Draw(call, rate, shape, samples, images, torch.float32, torch.device("cpu"))


class Given(Masks):
    """One mask for the whole batch of every call."""

    def __init__(self, keep: Tensor) -> None:
        self.given = keep

    def keep(self, draw: Draw) -> Tensor:
        return self.given.reshape(len(draw.samples), len(draw.images), *draw.shape)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("layer", "shape", "whole"),
    [
        (nn.Dropout, (50, 7), ()),
        (nn.Dropout, (50, 2, 3, 3), ()),
        (nn.AlphaDropout, (50, 7), ()),
        (nn.AlphaDropout, (50, 2, 3, 3), ()),
        (nn.Dropout1d, (50, 7, 4), (2,)),
        (nn.Dropout1d, (50, 7), (1,)),
        (nn.Dropout2d, (50, 7, 4, 4), (2, 3)),
        (nn.Dropout3d, (50, 7, 2, 2, 2), (2, 3, 4)),
        (nn.Dropout3d, (50, 7, 2, 2), (1, 2, 3)),
        (nn.FeatureAlphaDropout, (50, 7, 4, 4), (2, 3)),
    ],
)
def test_drops_as_torch_does_with_the_same_mask(
    layer: Callable[..., nn.Module], shape: tuple[int, ...], whole: tuple[int, ...], inplace: bool
) -> None:
    dropout, x = layer(0.3, inplace).train(), torch.randn(shape)
    torch.manual_seed(0)
    expected = dropout(x.clone())
    torch.manual_seed(0)
    keep = dropout(torch.full(shape, 1e30)) > 1e20
    assert 0.1 < (~keep).float().mean() < 0.5
    reduced = keep.amin(whole) if whole else keep
    with masked_dropout(dropout, Given(reduced)) as switch:
        switch.select(range(5), range(10))
        torch.testing.assert_close(dropout(x.clone()), expected)


def test_everything_is_dropped_at_rate_1() -> None:
    for layer in (nn.Dropout(1.0), nn.AlphaDropout(1.0)):
        with masked_dropout(layer, SeededMasks(0)) as switch:
            switch.select(range(2), range(3))
            assert torch.equal(layer(torch.randn(6, 4)), layer.train()(torch.randn(6, 4)))


@pytest.mark.parametrize("rate", [0.001, 0.1, 1 / 3, 0.5, 0.93])
@pytest.mark.parametrize("shared", [False, True])
def test_rate_is_right(rate: float, shared: bool) -> None:
    keep = SeededMasks(5, shared=shared).keep(draw(rate, (1001,), range(20), range(50)))
    assert keep.shape == (20, 1 if shared else 50, 1001)
    error = (1 - keep.double().mean()) - rate
    assert abs(error) < 4 * (rate * (1 - rate) / keep.numel()) ** 0.5  # 4 standard errors: level 6e-5


def test_masks_are_uncorrelated_in_every_direction() -> None:
    masks = SeededMasks(6)
    keep = torch.stack([masks.keep(draw(0.5, (64,), range(16), range(64), call=call)) for call in range(8)]) * 2 - 1
    for dimension, length in enumerate(keep.shape):
        for lag in {1, 2, 3, 4, length // 2}:
            pairs = keep.narrow(dimension, lag, length - lag) * keep.narrow(dimension, 0, length - lag)
            assert abs(pairs.mean()) < 4.5 / pairs.numel() ** 0.5  # level 7e-6 each
    # four masks of two samples and two images: what a sum of a sample's and an image's numbers would get wrong
    corners = keep[:, 1:] * keep[:, :-1]
    product = corners[:, :, 1:] * corners[:, :, :-1]
    assert abs(product.mean()) < 4.5 / product.numel() ** 0.5


def test_masks_depend_on_what_they_are_for_alone() -> None:
    masks = SeededMasks(7)
    everything = masks.keep(draw(0.3, (3, 5), range(10), range(40)))
    part = masks.keep(draw(0.3, (3, 5), range(4, 6), range(7, 31)))
    assert torch.equal(part, everything[4:6, 7:31])
    assert not torch.equal(masks.keep(draw(0.3, (3, 5), range(10), range(40), call=1)), everything)
    assert not torch.equal(SeededMasks(8).keep(draw(0.3, (3, 5), range(10), range(40))), everything)


def test_random_bits_are_splitmix64() -> None:
    """Against the published algorithm in Python's integers."""
    masks, units = SeededMasks(9), 10
    state = _starts(9, 2, range(3, 4))[0]
    words = []
    for image in range(2):
        for word in range(3):
            z = (state + (image * 3 + word) * 0x9E3779B97F4A7C15) % 2**64
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
            words.append(z ^ (z >> 31))
    bits = [[(words[image * 3 + unit // 4] >> 16 * (unit % 4)) % 2**16 for unit in range(units)] for image in range(2)]
    keep = masks.keep(draw(0.25, (units,), range(3, 4), range(2), call=2))
    # the sign bit counts the other way round in int16
    expected = [[(value ^ 0x8000) >= 0x4000 for value in image] for image in bits]
    assert keep[0].tolist() == expected


def test_modes_hooks_and_fused_attention_come_back_after_an_error(network: nn.Module) -> None:
    modes = {name: index % 2 == 0 for index, (name, _) in enumerate(network.named_modules())}
    for name, module in network.named_modules():
        module.training = modes[name]

    def break_inside() -> None:
        with masked_dropout(network, SeededMasks(0)):
            assert not any(module.training for module in network.modules())
            assert not torch.backends.mha.get_fastpath_enabled()
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        break_inside()
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_users_hook_sees_dropped_units() -> None:
    layer, seen = nn.Dropout(0.5), []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with masked_dropout(layer, SeededMasks(0)) as switch:
        switch.select(range(1), range(4))
        output = layer(torch.ones(4, 50))
    assert torch.equal(seen[0], output)
    assert set(output.unique().tolist()) == {0.0, 2.0}


def test_rows_that_are_not_images_are_refused() -> None:
    layer = nn.Dropout(0.5)
    with masked_dropout(layer, SeededMasks(0)) as switch:
        switch.select(range(1), range(4))
        assert layer(torch.ones(8, 5)).shape == (8, 5)
        with pytest.raises(UserError, match=r"shape \[6, 4\] for 4 images"):
            layer(torch.ones(6, 4))


def takes_the_short_way(layer: nn.Module, linear: nn.Linear, x: Tensor) -> bool:
    with masked_dropout(layer, SeededMasks(0)):
        return takes_masks(linear, layer, x)


def test_masks_go_to_the_linear_layer_where_that_is_the_same() -> None:
    linear, x = nn.Linear(9, 2), torch.ones(4, 9)
    assert takes_the_short_way(nn.Dropout(0.5), linear, x)
    assert takes_the_short_way(nn.AlphaDropout(0.5), linear, x)
    assert not takes_the_short_way(nn.Dropout(1.0), linear, x)  # nothing is left to scale up
    assert not takes_the_short_way(nn.Dropout(0.5), linear, torch.ones(4, 5, 9))
    assert not takes_the_short_way(nn.Dropout1d(0.5), linear, x)
    assert not takes_the_short_way(nn.Dropout(0.5), type("Named", (nn.Linear,), {})(9, 2), x)
    watched = nn.Dropout(0.5)
    watched.register_forward_pre_hook(lambda layer, inputs: None)
    assert not takes_the_short_way(watched, linear, x)


class Gaussian(nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.randn_like(x)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(2, 2), "it has no dropout layers"),
        (nn.Sequential(nn.Dropout(0.0), nn.AlphaDropout(0.0)), "its 2 dropout layers all have p=0"),
        (Gaussian(0.5), "Gaussian has a forward of its own"),
    ],
)
def test_a_network_that_cannot_be_sampled_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        mc_predict(network, torch.ones(3, 2))


def test_a_subclass_without_a_forward_of_its_own_is_welcome() -> None:
    named = type("Named", (nn.AlphaDropout,), {})(0.2)
    assert dropout_layers(named) == [named]

"""What the samples share is computed once, for networks of any structure."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lit_cifar.uncertainty import (
    chain,
    mc_predict,
)
from lit_cifar.utils.errors import UserError
from tests.uncertainty.comparing import assert_same, both_kinds


def test_work_that_samples_share_is_done_once(images: Tensor) -> None:
    rows = {"shared": 0, "sampled": 0}
    shared, sampled = nn.Linear(72, 4), nn.Linear(4, 3)
    for name, layer in (("shared", shared), ("sampled", sampled)):
        layer.register_forward_hook(lambda m, i, output, name=name: rows.update({name: rows[name] + len(output)}))
    network = nn.Sequential(nn.Sequential(nn.Flatten(), shared), nn.Sequential(nn.Dropout(0.5)), sampled)
    mc_predict(network, images.float(), samples=10)
    probe = 2 + 2
    assert rows == {"shared": len(images) + probe, "sampled": 10 * len(images) + probe}


@both_kinds
@pytest.mark.parametrize("hooked", [0, 1])
@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout])
@pytest.mark.parametrize("bias", [False, True])
def test_dropout_and_the_linear_layer_behind_it_are_one_product(
    masks: str, hooked: int, kind: type[nn.Module], bias: bool
) -> None:
    """A hook on one of them makes the two layers run one after the other, and sees every row."""
    network, images = nn.Sequential(kind(0.3), nn.Linear(9, 4, bias=bias)), torch.randn(12, 9)
    together = mc_predict(network, images, samples=20, masks=masks, keep_samples=True)
    rows = []
    network[hooked].register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    apart = mc_predict(network, images, samples=20, masks=masks, keep_samples=True)
    assert sum(rows) == 2 + 2 + 12 * 20  # two trials of two images
    assert_same(together, apart)
    assert together.standard_deviation.min() > 1e-3


class Doubled(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Named(nn.Sequential):
    pass


def test_chain_takes_plain_sequences_apart_and_nothing_else() -> None:
    a, b, c = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)
    assert chain(nn.Sequential(a, nn.Sequential(b, Named(c, a, c)), nn.Sequential())) == [a, b, c, a, c]
    assert chain(a) == [a]
    doubled = Doubled(a, b)
    assert chain(nn.Sequential(doubled, c)) == [doubled, c]
    hooked = nn.Sequential(a, b)
    hooked.register_forward_hook(lambda module, inputs, output: -output)
    prepared = nn.Sequential(b, c)
    prepared.register_forward_pre_hook(lambda module, inputs: None)
    assert chain(nn.Sequential(hooked, prepared)) == [hooked, prepared]
    replaced = nn.Sequential(a)
    replaced.forward = lambda x: x
    assert chain(replaced) == [replaced]


@pytest.mark.parametrize("where", ["outer", "inner"])
def test_hooks_on_sequences_are_obeyed(images: Tensor, where: str) -> None:
    inner = nn.Sequential(nn.Linear(72, 3), nn.Dropout(0.4))
    network = nn.Sequential(nn.Flatten(), inner, nn.Linear(3, 3))
    usual = mc_predict(network, images.float() / 255, samples=4)
    target = network if where == "outer" else inner
    target.register_forward_hook(lambda module, inputs, output: 0 * output)
    hooked = mc_predict(network, images.float() / 255, samples=4)
    assert usual.standard_deviation.max() > 0.01
    assert hooked.standard_deviation.max() == 0


class Tokens(nn.Module):
    """The images' rows as a sequence, the images first or second."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.layer = nn.TransformerEncoderLayer(12, 2, 16, dropout=0.3, batch_first=batch_first)
        self.head = nn.Linear(12, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.float().div(255).transpose(1, 2).flatten(2)
        tokens = self.layer(x if self.batch_first else x.transpose(0, 1))
        return self.head(tokens.mean(1 if self.batch_first else 0))


def test_dropout_inside_fused_attention_layers_is_switched_on(images: Tensor) -> None:
    result = mc_predict(Tokens(batch_first=True), images, samples=8)
    assert result.standard_deviation.amin() > 1e-3


def test_dropout_where_images_are_not_first_is_refused(images: Tensor) -> None:
    with pytest.raises(UserError, match="first dimension must be the images"):
        mc_predict(Tokens(batch_first=False), images, samples=8)


class Swap(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> dict[int, Tensor]:
        return {0: x, 1: x}


class AddPair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, pair: dict[int, Tensor]) -> Tensor:
        return pair[0] + self.drop(pair[1])


class SwapAndDrop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x.transpose(0, 1))


def test_what_cannot_be_repeated_is_run_whole() -> None:
    linear = nn.Linear(5, 3)
    images = torch.randn(7, 5)
    for rest in ((Pair(), AddPair()), (Swap(), SwapAndDrop())):
        result = mc_predict(nn.Sequential(linear, *rest), images, samples=200)
        assert result.probabilities.shape == (7, 3)
        assert result.standard_deviation.amax(1).min() > 0.01
    swapped = nn.Sequential(linear, Swap(), nn.Dropout(0.5), Swap())
    with pytest.raises(UserError, match="first dimension must be the images"):
        mc_predict(swapped, images, samples=8)


class AddInPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x.add_(self.drop(x))


@pytest.mark.parametrize("samples", [1, 3])
def test_the_images_are_left_alone(samples: int) -> None:
    images = torch.randn(6, 5).abs()
    before = images.clone()
    mc_predict(nn.Sequential(AddInPlace(), nn.Linear(5, 3)), images, samples=samples)
    assert torch.equal(images, before)


def test_a_first_layer_that_works_in_place_works_once() -> None:
    network = nn.Sequential(nn.LeakyReLU(0.1, inplace=True), nn.Dropout(0.5), nn.Linear(5, 3))
    images = torch.randn(6, 5)
    before = images.clone()
    shifted = mc_predict(network[1:], nn.functional.leaky_relu(images, 0.1), samples=4)
    assert_same(mc_predict(network, images, samples=4), shifted)
    assert torch.equal(images, before)


def test_half_precision_is_averaged_in_single(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    single = mc_predict(network, images / 255, samples=20)
    half = mc_predict(network.bfloat16(), (images / 255).bfloat16(), samples=20)
    assert half.probabilities.dtype == torch.float32
    torch.testing.assert_close(half.probabilities, single.probabilities, atol=0.02, rtol=0)

"""Dropout that isn't a layer: functions, attention, recurrent networks, declared modules; compiled networks."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from scipy import stats
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from lit_cifar.uncertainty import (
    Draw,
    Masks,
    SeededMasks,
    can_be_sampled,
    declare_stochastic,
    dropout_layers,
    masked_dropout,
    mc_predict,
    not_sampled,
)
from lit_cifar.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
CLASSES = 3


class Calls(nn.Module):
    """Drops by a function between two layers."""

    def __init__(self, function: Callable[..., Tensor] = F.dropout, *, inplace: bool = False) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(5, 6), nn.Linear(6, CLASSES)
        self.function, self.inplace = function, inplace

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.first(x))
        dropped = self.function(hidden, 0.4, training=self.training, inplace=self.inplace)
        return self.head(hidden if self.inplace else dropped)


def test_what_can_be_sampled_is_known_before_sampling() -> None:
    x = torch.randn(3, 5)
    assert can_be_sampled(Calls(), x)
    assert not can_be_sampled(Calls(lambda hidden, *_, **__: hidden), x)
    assert can_be_sampled(nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.1)), x)
    noisy = nn.Sequential(nn.Linear(5, 3), StochasticDepth(0.5, "row"))
    assert not can_be_sampled(noisy, x)
    declare_stochastic([noisy[1]])
    assert can_be_sampled(noisy, x)


class Attention(nn.Module):
    """One attention layer on 4 tokens of 6 features."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = {"batch_first": True, "dropout": 0.4, **options}
        self.attention, self.head = nn.MultiheadAttention(6, 2, **self.options), nn.Linear(6, CLASSES)
        self.need_weights = True

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.options["batch_first"] else x.transpose(0, 1)
        values = x[..., : self.options.get("vdim", 6)]
        x, _ = self.attention(x, x, value=values, need_weights=self.need_weights)
        return self.head(x.mean(1 if self.options["batch_first"] else 0))


class Recurrent(nn.Module):
    """A recurrent network of three layers on 4 tokens of 6 features."""

    def __init__(self, kind: type[nn.RNNBase], **options: object) -> None:
        super().__init__()
        self.recurrent = kind(6, 5, num_layers=3, dropout=0.4, **options)
        self.head = nn.LazyLinear(CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        first = self.recurrent.batch_first
        x, _ = self.recurrent(x if first else x.transpose(0, 1))
        return self.head(x[:, -1] if first else x[-1])


def tokens() -> Tensor:
    return torch.randn(6, 4, 6, generator=torch.Generator().manual_seed(0))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "attention": Attention,
    "attention, batch second": lambda: Attention(batch_first=False),
    "attention, all options": lambda: Attention(bias=False, add_bias_kv=True, add_zero_attn=True, vdim=3, kdim=6),
    "lstm": lambda: Recurrent(nn.LSTM, batch_first=True),
    "lstm, both directions": lambda: Recurrent(nn.LSTM, bidirectional=True, proj_size=2),
    "gru": lambda: Recurrent(nn.GRU, batch_first=True, bidirectional=True),
    "rnn": lambda: Recurrent(nn.RNN, nonlinearity="relu", bias=False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_samples_have_the_distribution_of_training_mode(name: str) -> None:
    """Two-sample Kolmogorov-Smirnov tests for each image and class, at a level of 1e-4 all together."""
    torch.manual_seed(0)
    network, images = NETWORKS[name](), tokens()
    with torch.no_grad():
        expected = torch.stack([network.train()(images).softmax(1) for _ in range(400)])
    found = mc_predict(network.eval(), images, samples=400, keep_samples=True).samples
    p_values = stats.ks_2samp(found.numpy().round(4), expected.numpy().round(4), axis=0, method="asymp").pvalue
    assert p_values.min() > 1e-4 / p_values.size
    assert found.std(0).amin() > 1e-4
    assert not network.training


class KeepAll(Masks):
    def keep(self, draw: Draw) -> Tensor:
        return torch.ones(len(draw.samples), len(draw.images), *draw.shape) * (1 - draw.rate)  # undoes the scaling


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_with_nothing_dropped_the_output_is_that_of_evaluation(name: str, need_weights: bool) -> None:
    torch.manual_seed(0)
    network, images = NETWORKS[name](), tokens()
    network.need_weights = need_weights
    with torch.no_grad():
        expected = network.eval()(images)
        with masked_dropout(network, KeepAll()) as switch:
            switch.select(range(1), range(len(images)))
            torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("name", [*NETWORKS, "function"])
def test_masks_do_not_depend_on_batches(name: str) -> None:
    torch.manual_seed(0)
    network, images = (Calls(), torch.randn(6, 5)) if name == "function" else (NETWORKS[name](), tokens())
    network(images)  # creates lazy weights
    whole = mc_predict(network, images, samples=5, keep_samples=True).samples
    part = mc_predict(network, images[4:], samples=3, indices=range(4, 6), keep_samples=True).samples
    torch.testing.assert_close(part, whole[:3, 4:], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(("function", "layer"), [(F.dropout, nn.Dropout), (F.alpha_dropout, nn.AlphaDropout)])
def test_dropout_functions_give_what_the_layers_give(
    function: Callable[..., Tensor], layer: type[nn.Module], inplace: bool
) -> None:
    torch.manual_seed(0)
    network, images = Calls(function, inplace=inplace), torch.randn(6, 5)
    layers = nn.Sequential(network.first, nn.ReLU(), layer(0.4), network.head)
    found, expected = (mc_predict(net, images, samples=9, keep_samples=True).samples for net in (network, layers))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    behind = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 5), network)
    assert mc_predict(behind, images, samples=9).standard_deviation.amin() > 1e-3


def test_a_function_outside_of_sequential_layers_is_found_late_in_the_chain() -> None:
    """What comes before the function is shared by all samples."""
    rows = []
    shared = nn.Linear(5, 5)
    shared.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    mc_predict(nn.Sequential(shared, Calls()), torch.randn(8, 5), samples=10)
    assert sum(rows) == 2 + 2 + 8


def residual(p: float = 0.5, mode: str = "row") -> nn.Module:
    return nn.Sequential(nn.Linear(5, 5), StochasticDepth(p, mode), nn.Dropout(0.1), nn.Linear(5, CLASSES))


def test_what_stays_off_is_said() -> None:
    with pytest.warns(UserWarning, match=r"leaves these parts off: 1 \(StochasticDepth\)"):
        mc_predict(residual(), torch.randn(6, 5), samples=3)
    assert list(not_sampled(residual())) == ["1"]
    assert not not_sampled(residual(p=0.0))
    network = residual()
    assert not not_sampled(network, [network[1]])


def test_a_module_that_calls_a_dropout_function_is_not_said_to_stay_off() -> None:
    class MyDropout(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x, 0.5, self.training)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = mc_predict(nn.Sequential(MyDropout(), nn.Linear(5, CLASSES)), torch.randn(6, 5), samples=9)
    assert result.standard_deviation.amin() > 1e-3


def test_declared_modules_are_sampled_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(0)
    network, images = nn.Sequential(StochasticDepth(0.3, "row"), nn.Linear(5, CLASSES)).eval(), torch.randn(6, 5)
    before = torch.get_rng_state()
    one, again, other = (
        mc_predict(network, images, samples=500, stochastic=[network[0]], keep_samples=True, seed=seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.samples, again.samples)
    assert not torch.equal(one.samples, other.samples)
    with torch.no_grad():
        outcomes = network[1](torch.stack([images * 0, images / 0.7])).softmax(2)
    kept = (one.samples - outcomes[0]).abs().amax(2) > 1e-5
    torch.testing.assert_close(one.samples[kept], outcomes[1].expand(500, -1, -1)[kept])
    assert kept.float().mean() == pytest.approx(0.7, abs=0.03)
    assert not network[0].training
    declare_stochastic([network[0]])
    assert torch.equal(mc_predict(network, images, samples=500, keep_samples=True, seed=1).samples, one.samples)
    assert dropout_layers(network) == [network[0]]


def test_nothing_random_names_what_could_be_declared() -> None:
    with pytest.raises(UserError, match="StochasticDepth can be sampled, too"):
        mc_predict(nn.Sequential(StochasticDepth(0.3, "row"), nn.Linear(5, CLASSES)), torch.randn(6, 5))


def test_packed_sequences_and_single_sequences_are_refused() -> None:
    lstm = nn.LSTM(6, CLASSES, num_layers=2, dropout=0.5)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(4, 2, 6), [4, 4])
    with pytest.raises(UserError, match=r"nn\.LSTM was given a packed sequence"), masked_dropout(lstm, SeededMasks(0)):
        lstm(packed)
    attention = nn.MultiheadAttention(6, 2, dropout=0.5)
    one = torch.randn(4, 6)
    with (
        pytest.raises(UserError, match="a sequence without a batch"),
        masked_dropout(attention, SeededMasks(0)),
    ):
        attention(one, one, one)


def test_probability_zero_adds_nothing_to_the_entropy() -> None:
    """Half of the samples give class 0 a logit of minus infinity."""

    class Masking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x.log(), x[:, :1] * 0, x[:, :1] * 0], 1)  # x is 0 or 2

    network = nn.Sequential(nn.Dropout(0.5), Masking())
    found = mc_predict(network, torch.ones(4, 1), samples=400, keep_samples=True)
    samples = found.samples.double()
    assert (samples == 0).any()
    expected = torch.special.entr(samples).sum(2).mean(0)
    torch.testing.assert_close(found.expected_entropy, expected, check_dtype=False)
    information = torch.special.entr(samples.mean(0)).sum(1) - expected
    torch.testing.assert_close(found.mutual_information, information, check_dtype=False, atol=1e-5, rtol=1e-4)
    assert information.min() > 0.01


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_not_numbers_are_refused(value: float) -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, CLASSES))
    images = torch.ones(4, 5)
    images[2] = value
    with pytest.raises(UserError, match="NaN or infinite for 1 of 4 images"):
        mc_predict(network, images, samples=3)


def test_half_precision_that_overflows_is_refused() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, CLASSES))
    nn.init.constant_(network[1].weight, 30_000.0)
    with pytest.raises(UserError, match="too large for half precision"):
        mc_predict(network.half(), torch.ones(4, 5).half(), samples=20)


def test_compiled_networks_are_sampled_like_their_originals() -> None:
    network, images = nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.5), nn.Linear(6, CLASSES)), torch.randn(6, 5)
    expected = mc_predict(network, images, samples=5).probabilities
    assert torch.equal(mc_predict(torch.compile(network), images, samples=5).probabilities, expected)
    inside = nn.Sequential(network[0], torch.compile(network[1:]))
    torch.testing.assert_close(mc_predict(inside, images, samples=5).probabilities, expected)
    network.compile()
    assert torch.equal(mc_predict(network, images, samples=5).probabilities, expected)


@pytest.mark.parametrize("kind", ["traced", "exported", "program"])
def test_networks_without_their_layers_are_refused(kind: str) -> None:
    network, images = nn.Sequential(nn.Dropout(0.5), nn.Linear(5, CLASSES)), torch.randn(6, 5)
    if kind == "traced":
        made, message = torch.jit.trace(network.eval(), images), "give the network that it was made from"
    else:
        program = torch.export.export(network.eval(), (images,))
        made, message = (program, "not a torch module") if kind == "program" else (program.module(), "network that")
    with pytest.raises(UserError, match=message):
        mc_predict(made, images)

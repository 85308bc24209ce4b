"""Monte Carlo predictions: right distribution, equal results for equal masks, whatever the batches are."""

from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from lit_cifar import uncertainty
from lit_cifar.uncertainty import (
    Draw,
    Masks,
    SeededMasks,
    accuracy,
    masked_dropout,
    mc_predict,
    nll,
    sample_curve,
    sample_points,
    sampled_logits,
)
from lit_cifar.uncertainty.planning import _measure
from lit_cifar.utils.errors import UserError
from tests.uncertainty.comparing import assert_same, both_kinds

PlainLoop = Callable[[nn.Module, Tensor, int], Tensor]
CLASSES = 3
BUDGETS = (5_000, 30_000, 100_000, 2**28)


@both_kinds
def test_same_as_a_plain_loop_with_the_same_masks(network: nn.Module, images: Tensor, masks: str) -> None:
    result = mc_predict(network, images, samples=7, masks=masks, seed=3, keep_samples=True)
    with torch.no_grad(), masked_dropout(network, SeededMasks(3, shared=masks == "shared")) as switch:
        for sample in range(7):
            switch.select(range(sample, sample + 1), range(len(images)))
            torch.testing.assert_close(result.samples[sample], network(images).softmax(1), atol=1e-6, rtol=1e-5)


class Given(Masks):
    """One mask for each call of a dropout layer."""

    def __init__(self, keep: list[Tensor]) -> None:
        self.given = keep

    def keep(self, draw: Draw) -> Tensor:
        return self.given[draw.call][: len(draw.images)].reshape(1, len(draw.images), *draw.shape)


def test_bit_equal_to_torchs_dropout_with_its_masks(images: Tensor) -> None:
    dropouts = nn.Dropout(0.3), nn.Dropout(0.5)
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 8), dropouts[0], nn.ELU(), dropouts[1], nn.Linear(8, 3))
    torch.manual_seed(5)
    with torch.no_grad():
        expected = network.train()(images.float())
    torch.manual_seed(5)
    masks = Given([dropout(torch.ones(len(images), 8)) > 0 for dropout in dropouts])
    with sampled_logits(network, images.float(), samples=1, masks=masks) as pieces:
        logits = next(iter(pieces)).logits[0]
    assert torch.equal(logits, expected)


@both_kinds
def test_same_distribution_as_a_plain_loop(
    network: nn.Module, images: Tensor, plain_loop: PlainLoop, masks: str
) -> None:
    """Two-sample Kolmogorov-Smirnov tests for each image and class, at a level of 1e-4 all together."""
    theirs = plain_loop(network, images, 1000)
    ours = mc_predict(network, images, samples=1000, masks=masks, keep_samples=True).samples
    # rounded, because few units have few masks, whose probabilities differ by rounding alone
    p_values = stats.ks_2samp(ours.numpy().round(4), theirs.numpy().round(4), axis=0, method="asymp").pvalue
    assert p_values.min() > 1e-4 / p_values.size


def test_independent_masks_agree_over_all_images(network: nn.Module, images: Tensor, plain_loop: PlainLoop) -> None:
    """The mean difference to a plain loop, relative to its standard error: chi-square, two-sided level 1e-4."""
    theirs, samples = plain_loop(network, images, 500)[..., 0], 500
    ours = mc_predict(network, images, samples=samples, keep_samples=True).samples[..., 0]
    variance = (ours.var(0) + theirs.var(0)) / samples
    statistic = ((ours.mean(0) - theirs.mean(0)).square() / variance).sum().item()
    assert 0.5e-4 < stats.chi2(len(images)).cdf(statistic) < 1 - 0.5e-4


def test_a_hundred_samples_with_masks_of_their_own_unless_said_otherwise(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 3)).eval()
    usual = mc_predict(network, images.float(), keep_samples=True)
    said = mc_predict(network, images.float(), samples=100, masks="independent", seed=0, keep_samples=True)
    assert torch.equal(usual.samples, said.samples)


def test_images_share_masks_or_do_not(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 4), nn.Dropout(0.5), nn.Linear(4, 3)).eval()
    same = images[:1].expand(12, -1, -1, -1).float() / 255
    shared, independent = (
        mc_predict(network, same, samples=20, masks=m, keep_samples=True).samples for m in ("shared", "independent")
    )
    assert shared.std(1).max() < 1e-6
    assert shared.std(0).min() > 1e-3
    assert independent.std(1).amax(1).min() > 1e-3


@both_kinds
def test_same_for_every_memory_budget(network: nn.Module, images: Tensor, masks: str) -> None:
    pieces = set()
    results = []
    for budget in BUDGETS:
        with sampled_logits(network, images, samples=9, masks=masks, memory_budget=budget) as cut:
            places = [(piece.samples, piece.images, piece.logits.shape) for piece in cut]
        assert all(shape == (len(samples), len(part), CLASSES) for samples, part, shape in places)
        covered = [(sample, image) for samples, part, _ in places for sample in samples for image in part]
        assert sorted(covered) == list(product(range(9), range(len(images))))
        pieces.add(tuple(places))
        results.append(mc_predict(network, images, samples=9, masks=masks, memory_budget=budget, keep_samples=True))
    assert len(pieces) > 2
    for result in results[1:]:
        assert_same(results[0], result)


def test_memory_is_judged_by_the_largest_tensor_a_row_passes_through() -> None:
    narrow_wide_narrow = [nn.Sequential(nn.Linear(2, 50), nn.Linear(50, 3))]
    assert _measure(narrow_wide_narrow, torch.ones(4, 2))[1] == 50 * 4


def test_first_samples_and_first_images_do_not_depend_on_the_others(network: nn.Module, images: Tensor) -> None:
    most = mc_predict(network, images, samples=9, keep_samples=True).samples
    fewer = mc_predict(network, images[:6], samples=4, keep_samples=True).samples
    torch.testing.assert_close(fewer, most[:4, :6], atol=1e-6, rtol=1e-5)


def test_reproducible_by_seed_and_generator_without_touching_the_global_state(
    network: nn.Module, images: Tensor
) -> None:
    before = torch.get_rng_state()
    one, again, other = (mc_predict(network, images, samples=3, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(one.probabilities, again.probabilities)
    assert not torch.equal(one.probabilities, other.probabilities)
    generator = torch.Generator().manual_seed(6)
    first, second = (mc_predict(network, images, samples=3, seed=generator) for _ in range(2))
    again = mc_predict(network, images, samples=3, seed=torch.Generator().manual_seed(6))
    assert torch.equal(first.probabilities, again.probabilities)
    assert not torch.equal(first.probabilities, second.probabilities)
    assert torch.equal(torch.get_rng_state(), before)


def test_only_dropout_is_switched_on(network: nn.Module, images: Tensor) -> None:
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    result = mc_predict(network, images, samples=5, keep_samples=True)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert result.samples.std(0).amax(1).min() > 1e-4
    assert_same(result, mc_predict(network.eval(), images, samples=5, keep_samples=True))


def test_identities(network: nn.Module, images: Tensor) -> None:
    result = mc_predict(network, images, samples=30, keep_samples=True)
    samples = result.samples.double()
    mean = samples.mean(0)
    entropy = torch.special.entr(samples).sum(2).mean(0)
    votes = torch.nn.functional.one_hot(samples.argmax(2), 3).sum(0)
    expected = {
        "probabilities": mean,
        "prediction": mean.argmax(1),
        "confidence": mean.amax(1),
        "predictive_entropy": torch.special.entr(mean).sum(1),
        "expected_entropy": entropy,
        "mutual_information": torch.special.entr(mean).sum(1) - entropy,
        "variation_ratio": 1 - votes.amax(1) / 30,
        "standard_deviation": samples.std(0, correction=0),
    }
    for name, value in expected.items():
        torch.testing.assert_close(getattr(result, name), value, atol=2e-6, rtol=1e-5, check_dtype=False)
    assert (result.predictive_entropy > result.expected_entropy).all()
    assert (result.mutual_information > 0).all()
    torch.testing.assert_close(result.probabilities.sum(1), torch.ones(len(images)))


def test_one_sample_knows_nothing_of_the_model(network: nn.Module, images: Tensor) -> None:
    result = mc_predict(network, images, samples=1)
    torch.testing.assert_close(result.predictive_entropy, result.expected_entropy, atol=1e-6, rtol=0)
    assert result.mutual_information.max() < 1e-6
    assert not result.variation_ratio.any()
    assert not result.standard_deviation.any()
    assert result.samples is None


def test_small_standard_deviations_survive_many_samples() -> None:
    """The difference of float32's mean square and squared mean would be off by 1e-4 or more here."""
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 2))
    network.load_state_dict({"1.weight": torch.tensor([[1e-4], [0.0]]), "1.bias": torch.tensor([3.0, 0.0])})
    rough, exact = (
        mc_predict(network.to(t), torch.ones(1, 1, dtype=t), samples=2000) for t in (torch.float, torch.double)
    )
    assert 1e-6 < exact.standard_deviation.min() < 1e-5
    torch.testing.assert_close(rough.standard_deviation.double(), exact.standard_deviation, rtol=0.02, atol=0)


def test_errors_name_the_mistake(images: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.Dropout(0.5)).eval()
    pixels = images.float()
    with pytest.raises(UserError, match="samples=0"):
        mc_predict(network, pixels, samples=0)
    with pytest.raises(UserError, match="no images"):
        mc_predict(network, pixels[:0])
    with pytest.raises(UserError, match="masks='fresh'"):
        mc_predict(network, pixels, masks="fresh")
    with pytest.raises(UserError, match="memory_budget=100 is too small"):
        mc_predict(network, pixels, memory_budget=100)
    with pytest.raises(UserError, match=r"shape \[2, 2, 6, 6\]"):
        mc_predict(nn.Dropout(0.5), pixels)
    unused = nn.Linear(72, 3)
    unused.drop = nn.Dropout(0.5)
    with pytest.raises(UserError, match="none of its dropout layers"):
        mc_predict(unused, pixels.flatten(1))


def test_everything_is_restored_after_an_error_in_the_network(images: Tensor) -> None:
    class Breaks(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls > 2:
                raise RuntimeError("broken")
            return x

    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), Breaks())
    with pytest.raises(RuntimeError, match="broken"):
        mc_predict(network, images.float(), samples=5, memory_budget=BUDGETS[1])
    assert all(module.training and not module._forward_hooks for module in network.modules())
    assert torch.is_grad_enabled()


@both_kinds
def test_curve_scores_the_mean_of_the_first_samples(
    network: nn.Module, images: Tensor, labels: Tensor, masks: str
) -> None:
    points = (9, 1, *range(8, 1, -1))
    curves = [
        sample_curve(
            mc_predict(network, images, samples=9, masks=masks, points=points, memory_budget=budget).after,
            labels,
            points,
        )
        for budget in BUDGETS
    ]
    for index, samples in enumerate(points):
        mean = mc_predict(network, images, samples=samples, masks=masks).probabilities
        for curve in curves:
            assert curve.samples == points
            assert curve.accuracy[index] == pytest.approx(accuracy(mean, labels), abs=1e-12)
            assert curve.nll[index] == pytest.approx(nll(mean, labels), abs=1e-6)


def test_points_are_numbers_of_samples(images: Tensor) -> None:
    assert sample_points(100) == [1, 2, 5, 10, 20, 50, 100]
    assert sample_points(30) == [1, 2, 5, 10, 20, 30]
    assert sample_points(1) == [1]
    network = nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.Dropout(0.5))
    for points in ([0, 5], [1, 11]):
        with pytest.raises(UserError, match=r"from 1 to 10"):
            mc_predict(network, images.float(), samples=10, points=points)


@both_kinds
def test_an_images_masks_follow_from_its_number_alone(network: nn.Module, images: Tensor, masks: str) -> None:
    """As two processes would, each predicting every other image in batches of its own size."""
    whole = mc_predict(network, images, samples=9, masks=masks)
    for process, batch_size in ((0, 4), (1, 7)):
        mine = range(process, len(images), 2)
        for start in range(0, len(mine), batch_size):
            indices = mine[start : start + batch_size]
            part = mc_predict(network, images[list(indices)], samples=9, masks=masks, indices=indices)
            for name in ("probabilities", "mutual_information", "variation_ratio"):
                expected = getattr(whole, name)[list(indices)]
                torch.testing.assert_close(getattr(part, name), expected, atol=2e-6, rtol=1e-5)
    with pytest.raises(UserError, match="has 3 indices, but there are 21 images"):
        mc_predict(network, images, indices=range(3))


def test_needs_nothing_of_lit_cifar_but_its_utilities() -> None:
    for path in Path(uncertainty.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lit_cifar"):
                assert node.module.startswith(("lit_cifar.uncertainty", "lit_cifar.utils."))


def test_public_names_exist() -> None:
    assert all(hasattr(uncertainty, name) for name in uncertainty.__all__)

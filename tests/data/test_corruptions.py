"""Corrupted images: as strong as published, the same each time, and only the test images."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lit_cifar.data.corruptions import CORRUPTIONS, SEVERITIES, STRENGTHS, corrupt
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.sources.synthetic import SyntheticSource
from lit_cifar.utils.errors import UserError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def images() -> Tensor:
    return SyntheticSource(test_size=30).test().images


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_images_are_further_from_the_original_with_each_severity(images: Tensor, corruption: str) -> None:
    before = images.clone()
    distances = []
    for severity in SEVERITIES:
        corrupted = corrupt(images, corruption, severity)
        assert (corrupted.shape, corrupted.dtype) == (images.shape, torch.uint8)
        assert corrupted.is_contiguous()
        distances.append((corrupted.float() - images.float()).square().mean().item())
    assert distances[0] > 0
    assert distances == sorted(distances)
    assert torch.equal(images, before)


def test_noise_has_the_published_strength_and_follows_from_seed_and_place() -> None:
    grey = torch.full((40, 3, 32, 32), 128, dtype=torch.uint8)
    noisy = corrupt(grey, "noise", 5, seed=1)
    difference = noisy.float() - grey
    assert difference.std().item() == pytest.approx(255 * 0.10, rel=0.02)
    assert abs(difference.mean().item()) < 0.5
    assert torch.equal(noisy[:7], corrupt(grey[:7], "noise", 5, seed=1))
    assert not torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy, corrupt(grey, "noise", 5, seed=2))


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    point = torch.zeros(1, 3, 33, 33, dtype=torch.uint8)
    point[..., 16, 16] = 255
    blurred = corrupt(point, "blur", 5)[0, 0].double() / 255
    assert blurred[16, 16].item() == pytest.approx(1 / (2 * torch.pi), abs=0.01)  # the density at its centre
    assert blurred[16, 17].item() / blurred[16, 16].item() == pytest.approx(0.607, abs=0.03)  # exp(-1/2)


def test_contrast_and_brightness_by_hand() -> None:
    image = torch.tensor([[[0, 100]], [[50, 50]], [[200, 0]]], dtype=torch.uint8)[None]
    assert corrupt(image, "contrast", 2).tolist() == [[[[25, 75]], [[50, 50]], [[150, 50]]]]
    brighter = corrupt(image, "brightness", 2)[0]
    for place in range(2):
        h, s, v = colorsys.rgb_to_hsv(*(image[0, :, 0, place] / 255).tolist())
        expected = [round(255 * x) for x in colorsys.hsv_to_rgb(h, s, min(v + 0.1, 1))]
        assert brighter[:, 0, place].tolist() == pytest.approx(expected, abs=1)
    black = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    assert corrupt(black, "brightness", 5).unique().tolist() == [round(0.3 * 255)]


def test_pixelate_leaves_as_many_pixels_as_published(images: Tensor) -> None:
    pixelated = corrupt(images[:1], "pixelate", 5)[0, 0]
    assert len(pixelated.unique(dim=0)) <= int(32 * STRENGTHS["pixelate"][-1]) == 20


def test_only_the_test_images_are_corrupted_and_their_name_says_so(pictures: Path) -> None:
    plain, corrupted = (
        CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, corruption=corruption, severity=4)
        for corruption in (None, "noise")
    )
    for data in (plain, corrupted):
        data.prepare_data()
        for stage in ("fit", "test", "predict"):
            data.setup(stage)
    assert torch.equal(corrupted.train_images, plain.train_images)
    assert torch.equal(corrupted.val_images, plain.val_images)
    expected = corrupt(plain.test_images.images, "noise", 4)
    assert torch.equal(corrupted.test_images.images, expected)
    assert torch.equal(corrupted.predict_dataloader().images.images, expected)
    assert "severity" not in plain.data_source
    assert corrupted.data_source == f"{plain.data_source}, test images CORRUPTED by noise, severity 4 of 5"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruption": "fog"}, "corruption='fog' is unknown: use one of noise, blur"),
        ({"corruption": "noise", "severity": 6}, "severity=6 is out of range"),
        ({"corruption": "noise", "pictures": "mine"}, "not of pictures"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CIFAR10DataModule(source="synthetic", **options)

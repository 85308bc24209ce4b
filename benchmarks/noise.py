"""The images that every contender trains on, and where."""

from __future__ import annotations

import torch

from lit_cifar.data.sources import CIFAR10_CLASSES, ImageSet, Source

FOREVER = 1000
"""Epochs; nobody waits for the last one."""

VALIDATION_SHARE = 10
"""One image in so many is held out: 5,000 of 50,000."""


def random_images(count: int) -> ImageSet:
    """Noise: what the pictures show doesn't change the work."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(count) % 10)


class RandomSource(Source):
    """The same noise for every contender."""

    name = "noise"
    class_names = CIFAR10_CLASSES

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def prepare(self) -> None:
        pass

    def train(self) -> ImageSet:
        return self.images

    def test(self) -> ImageSet:
        return self.images


def device() -> str:
    """Where contenders train."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def wait_for(where: str) -> None:
    """Wait until a device has done what it was asked."""
    if where == "cuda":
        torch.cuda.synchronize()

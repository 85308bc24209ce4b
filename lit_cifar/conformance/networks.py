"""Classifiers, images and labels for the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

import variants
from lit_cifar.data.normalization import Scale
from lit_cifar.training.module import LitClassifier
from variants import Variant

CLASS_NAMES = tuple(f"class {index}" for index in range(10))
IMAGE_SHAPE = (3, 32, 32)

Check = Callable[[type[Variant]], None]


class ConformanceError(AssertionError):
    """A requirement that a variant doesn't meet, in one line."""


def require(met: bool, otherwise: str) -> None:
    if not met:
        raise ConformanceError(otherwise)


def classifier(variant: Variant, *, classes: int = len(CLASS_NAMES), seed: int = 0) -> LitClassifier:
    """A classifier with its network built, with weights from a seed."""
    model = LitClassifier(variant)
    with seeded(seed):
        model.build(CLASS_NAMES[:classes], Scale.fit(variant.scaling, images_of(40)))
    return model


def network(variant: Variant, *, seed: int = 0) -> nn.Module:
    """A network that takes uint8 images, scaling included."""
    return classifier(variant, seed=seed).get_submodule("network")


def images_of(count: int) -> Tensor:
    """Noisy uint8 images [count, 3, 32, 32] of ten patterns in turn, a pattern for each of `labels_of`."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(176, (len(CLASS_NAMES), *IMAGE_SHAPE), generator=generator)
    noise = torch.randint(80, (count, *IMAGE_SHAPE), generator=generator)
    return (patterns[labels_of(count)] + noise).to(torch.uint8)


def labels_of(count: int) -> Tensor:
    return torch.arange(count) % len(CLASS_NAMES)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of a seed inside; afterwards torch's random state is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def is_registered(variant_class: type[Variant]) -> bool:
    name = variant_class.__name__
    return name in variants.available() and variants.get(name) is variant_class

"""What every source of images must do, as checks for `lit-cifar sources check` and for a package's own tests:

    import pytest
    from lit_cifar.conformance import SOURCE_CHECKS
    from my_package import MySource

    @pytest.mark.parametrize("check", SOURCE_CHECKS)
    def test_conforms(check, tmp_path):
        check(MySource(tmp_path))

The docstring of a check is the requirement. The checks read all images, so give them a small data set in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from lit_cifar.conformance.networks import require
from lit_cifar.conformance.outcomes import outcomes
from lit_cifar.data.sources import ImageSet, Source

SourceCheck = Callable[[Source], None]


def names_itself(source: Source) -> None:
    """It has a name in one line, and at least two class names, all different."""
    name, classes = source.name, source.class_names
    require(isinstance(name, str) and bool(name) and name.isprintable(), f"name = {name!r}: give a text of one line")
    texts = isinstance(classes, tuple) and all(isinstance(text, str) and text for text in classes)
    require(texts, f"class_names = {classes!r:.100}: give a tuple of texts, in the order of the labels")
    require(len(classes) > 1, "there must be at least two classes")
    require(len(set(classes)) == len(classes), "two classes have the same name: rename one")


def prepares_again(source: Source) -> None:
    """`prepare` can be called again, and leaves the images as they are."""
    source.prepare()
    before = source.train()
    source.prepare()
    require(_equal(before, source.train()), "the training images differ after another `prepare`")


def gives_images(source: Source) -> None:
    """Training and test images have the shape that it says, and labels of its classes."""
    source.prepare()
    shape, classes = tuple(source.image_shape), len(source.class_names)
    for split, images in _splits(source).items():
        require(isinstance(images, ImageSet), f"{split}() must give an ImageSet, not a {type(images).__name__}")
        require(len(images) > 0, f"{split}() gives no images")
        found = tuple(images.images.shape[1:])
        require(found == shape, f"{split}() gives images {found}, and image_shape is {shape}: make them equal")
        low, high = int(images.labels.min()), int(images.labels.max())
        require(0 <= low <= high < classes, f"{split}() has labels {low} to {high} for {classes} classes")


def has_every_class(source: Source) -> None:
    """Each class has training images, and at least two if the source has no validation images of its own."""
    source.prepare()
    counts = torch.bincount(source.train().labels, minlength=len(source.class_names))
    least = 2 if source.val() is None else 1
    missing = [name for name, count in zip(source.class_names, counts.tolist(), strict=True) if count < least]
    require(not missing, f"too few training images of {', '.join(missing[:3])}: leave the class out or add some")


def keeps_its_order(source: Source) -> None:
    """Every call gives the same images in the same order."""
    source.prepare()
    for split, images in _splits(source).items():
        again = _splits(source)[split]
        require(_equal(images, again), f"{split}() gives other images each time: sort them, and use a fixed seed")


def keeps_test_images_apart(source: Source) -> None:
    """No test image is a training image, but for a few duplicates."""
    source.prepare()
    known = set(_digests(source.train()))
    shared = sum(digest in known for digest in _digests(source.test()))
    share = shared / len(source.test())
    require(share < 0.1, f"{share:.0%} of the test images are training images, too: divide the images")


SOURCE_CHECKS: tuple[SourceCheck, ...] = (
    names_itself,
    prepares_again,
    gives_images,
    has_every_class,
    keeps_its_order,
    keeps_test_images_apart,
)
"""The checks, the simplest first."""


def source_results(source: Source) -> Iterator[tuple[str, str]]:
    """Each requirement in turn, and the reason why it isn't met: an empty string if it is."""
    return outcomes(SOURCE_CHECKS, source)


def _splits(source: Source) -> dict[str, ImageSet]:
    splits = {"train": source.train(), "val": source.val(), "test": source.test()}
    return {name: images for name, images in splits.items() if images is not None}


def _equal(one: ImageSet, other: ImageSet) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def _digests(images: ImageSet) -> Iterator[bytes]:
    return (image.tobytes() for image in images.images.numpy())

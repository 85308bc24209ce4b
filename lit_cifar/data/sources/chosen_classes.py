"""Some of a source's classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lit_cifar.data.sources.base import ImageSet, Source
from lit_cifar.utils.errors import UserError


class ChosenClasses(Source):
    """The images of some classes of another source; labels are indices into the chosen classes.

    Args:
        source: Where the images come from.
        classes: The names of the classes. Their order is the source's.
    """

    def __init__(self, source: Source, classes: Sequence[str]) -> None:
        self.source = source
        self.classes = classes

    @property
    def name(self) -> str:
        return f"{self.source.name}, only {', '.join(self.class_names)}"

    @property
    def class_names(self) -> tuple[str, ...]:
        known = self.source.class_names
        unknown = [name for name in self.classes if name not in known]
        if unknown or len(set(self.classes)) < 2:
            problem = f"there is no class {', '.join(unknown)}" if unknown else "give at least two different classes"
            raise UserError(f"classes={list(self.classes)} can't be used: {problem}. The data has {', '.join(known)}.")
        return tuple(name for name in known if name in self.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.source.image_shape

    def prepare(self) -> None:
        self.source.prepare()

    def train(self) -> ImageSet:
        return self._chosen(self.source.train())

    def val(self) -> ImageSet | None:
        val = self.source.val()
        return None if val is None else self._chosen(val)

    def test(self) -> ImageSet:
        return self._chosen(self.source.test())

    def _chosen(self, images: ImageSet) -> ImageSet:
        known = self.source.class_names
        new_labels = torch.full((len(known),), -1)
        new_labels[[known.index(name) for name in self.class_names]] = torch.arange(len(self.class_names))
        labels = new_labels[images.labels]
        return ImageSet(images.images[labels >= 0], labels[labels >= 0])

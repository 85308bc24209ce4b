"""The interface of sources of images: a name, class names, a training set and a test set of 32×32 RGB images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

IMAGE_SHAPE = (3, 32, 32)
"""Channels, height and width of CIFAR-10's images, and of pictures unless another size is chosen."""

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The class names of CIFAR-10, in the order of its labels."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their labels, in memory.

    Args:
        images: uint8 [N, 3, H, W], contiguous.
        labels: int64 [N], contiguous; each an index into the source's class names.

    Raises:
        ValueError: if a tensor has another type, shape or layout.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        _check("images", self.images, torch.uint8, (len(self.labels), IMAGE_SHAPE[0], *self.images.shape[2:4]))
        _check("labels", self.labels, torch.int64, (len(self.labels),))

    def __len__(self) -> int:
        return len(self.labels)


class Source(ABC):
    """Where images come from. Make one with `open_source`, call `prepare` in one process, then `train` and `test`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name shown to users and in every artifact, such as "CIFAR-10 (official files)"."""

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels; quick to compute."""

    @abstractmethod
    def prepare(self) -> None:
        """Download, decode and cache the images. Calling it again is quick and changes nothing.

        Raises:
            UserError: if the images can't be had; the message says what to do.
        """

    @abstractmethod
    def train(self) -> ImageSet:
        """The training set, in an order that never changes."""

    def val(self) -> ImageSet | None:
        """Validation images that the source brings itself; None if they are to be held out from the training set."""
        return None

    @abstractmethod
    def test(self) -> ImageSet:
        """The test set, in an order that never changes."""


def _check(name: str, tensor: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    if tensor.dtype != dtype or tuple(tensor.shape) != shape or not tensor.is_contiguous():
        layout = "" if tensor.is_contiguous() else ", not contiguous"
        raise ValueError(
            f"{name} must be contiguous {dtype} {shape}, not {tensor.dtype} {tuple(tensor.shape)}{layout}."
        )

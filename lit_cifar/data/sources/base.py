"""The interface of sources of images: a name, class names, a training set and a test set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from lit_cifar.utils.errors import UserError

IMAGE_SHAPE = (3, 32, 32)
"""Channels, height and width of CIFAR-10's images, and of pictures unless another size is chosen."""

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The class names of CIFAR-10, in the order of its labels."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their labels, in memory.

    Args:
        images: uint8 [N, C, H, W], contiguous; C is 1 for grey and 3 for RGB images.
        labels: int64 [N], contiguous; each an index into the source's class names.

    Raises:
        ValueError: if a tensor has another type, shape or layout.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        channels = 1 if self.images.dim() > 1 and self.images.shape[1] == 1 else 3
        _check("images", self.images, torch.uint8, (len(self.labels), channels, *self.images.shape[2:4]))
        _check("labels", self.labels, torch.int64, (len(self.labels),))

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_arrays(cls, images: ArrayLike, labels: ArrayLike) -> ImageSet:
        """Make a set from arrays as data sets usually have them.

        Args:
            images: Values 0 to 255, [N, H, W] for grey or [N, H, W, 3] for RGB images.
            labels: Class indices [N].

        Raises:
            ValueError: If the images have another shape or range.
        """
        pixels = np.asarray(images)
        if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] not in (1, 3)):
            raise ValueError(f"images must be [N, H, W] or [N, H, W, 3], not {list(pixels.shape)}.")
        if pixels.size and (pixels.min() < 0 or pixels.max() > 255):
            raise ValueError(f"images must have values 0 to 255, not {pixels.min()} to {pixels.max()}.")
        pixels = pixels[:, None] if pixels.ndim == 3 else np.moveaxis(pixels, 3, 1)
        return cls(
            torch.from_numpy(np.array(pixels, dtype=np.uint8, order="C")),
            torch.from_numpy(np.array(labels, dtype=np.int64)),
        )


class Source(ABC):
    """Where images come from.

    Make one with `open_source`, call `prepare` in one process, then `train` and `test`. The constructor of a source
    from a package takes the data folder, a `Path`, first; its other arguments are keywords, `source_options` of
    CIFAR10DataModule.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name shown to users and in every artifact, such as "CIFAR-10 (official files)"."""

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the labels; quick to compute."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image; quick to compute. By default those of CIFAR-10."""
        return IMAGE_SHAPE

    @abstractmethod
    def prepare(self) -> None:
        """Download, decode and cache the images. Calling it again is quick and changes nothing.

        Raises:
            UserError: If the images are not available; the message says what to do.
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


def checked(source: Source, images: ImageSet) -> ImageSet:
    """Return a source's images, or raise a `UserError` if they aren't what the source says."""
    shape, classes = tuple(images.images.shape[1:]), len(source.class_names)
    if shape != tuple(source.image_shape):
        raise UserError(f"{source.name}: image_shape is {tuple(source.image_shape)}, but the images have {shape}.")
    if len(images) and not 0 <= int(images.labels.min()) <= int(images.labels.max()) < classes:
        low, high = int(images.labels.min()), int(images.labels.max())
        raise UserError(f"{source.name}: {classes} classes need labels 0 to {classes - 1}, not {low} to {high}.")
    return images


def _check(name: str, tensor: torch.Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    if tensor.dtype != dtype or tuple(tensor.shape) != shape or not tensor.is_contiguous():
        layout = "" if tensor.is_contiguous() else ", not contiguous"
        raise ValueError(
            f"{name} must be contiguous {dtype} {shape}, not {tensor.dtype} {tuple(tensor.shape)}{layout}."
        )

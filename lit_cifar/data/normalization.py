"""The first layer of every network: uint8 pixels in, scaled floats out. A checkpoint carries it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from variants import Scaling

_SMALLEST_STD = 1.0  # in steps of 0–255, so that nearly constant pixels are not amplified


class Scale(nn.Module):
    """Turn uint8 images [B, C, H, W] into float images of the same shape: `(images - mean) / std`, pixel by pixel.

    Args:
        mean: Subtracted from the pixels, [C, H, W], in steps of 0–255.
        std: Divisor of the pixels, [C, H, W], in steps of 0–255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", std.float())

    @classmethod
    def fit(cls, scaling: Scaling, images: Tensor) -> Scale:
        """The layer for a kind of scaling; `standardize` takes its statistics from these uint8 images [N, C, H, W]."""
        if scaling == "unit":
            return cls.empty(tuple(images.shape[1:]))
        return cls.standardizing(PixelSums.of(images))

    @classmethod
    def standardizing(cls, sums: PixelSums) -> Scale:
        """The layer that gives each pixel mean 0 and standard deviation 1 over the images of these sums."""
        mean, std = sums.statistics()
        return cls(mean, std.clamp(min=_SMALLEST_STD))

    @classmethod
    def empty(cls, image_shape: tuple[int, ...]) -> Scale:
        """The layer that divides by 255; also what a checkpoint's statistics are loaded into."""
        return cls(torch.zeros(image_shape), torch.full(image_shape, 255.0))

    def forward(self, images: Tensor) -> Tensor:
        # In place, because allocating memory twice takes several times as long.
        return images.to(self.mean.dtype, copy=True).sub_(self.mean).div_(self.std)


@dataclass(frozen=True)
class PixelSums:
    """Sums over uint8 images. They are exact, so sums of parts can be added and subtracted.

    Args:
        count: Number of images.
        values: The sum of each pixel, float64 [C, H, W].
        squares: The sum of its squares, float64 [C, H, W].
    """

    count: int
    values: Tensor
    squares: Tensor

    @classmethod
    def of(cls, images: Tensor) -> PixelSums:
        """The sums over images [N, C, H, W]."""
        values = torch.zeros(images.shape[1:], dtype=torch.float64)
        squares = torch.zeros_like(values)
        for chunk in images.split(256):  # sums of no more than 256 squares of bytes are exact in single precision
            pixels = chunk.float()
            values += pixels.sum(0)
            squares += pixels.square_().sum(0)
        return cls(len(images), values, squares)

    def __sub__(self, other: PixelSums) -> PixelSums:
        """The sums over these images without some of them."""
        return PixelSums(self.count - other.count, self.values - other.values, self.squares - other.squares)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and population standard deviation of each pixel, [C, H, W] each."""
        mean = self.values / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0)
        return mean.float(), variance.sqrt().float()

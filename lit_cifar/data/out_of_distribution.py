"""Images of nothing that a network was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lit_cifar.data.sources import IMAGE_SHAPE
from lit_cifar.data.sources.synthetic import SyntheticSource


def out_of_distribution_images(
    count: int, *, synthetic: bool = True, image_shape: Sequence[int] = IMAGE_SHAPE
) -> dict[str, Tensor]:
    """Images of nothing a network was trained on, uint8 [count, *image_shape], by kind; the same ones each time.

    Uniform noise is any color in any pixel; Gaussian noise varies around grey by a quarter of the range.

    Args:
        count: Images of each kind.
        synthetic: Whether to add drawn shapes; leave them out for a network that was trained on them.
        image_shape: Channels, height and width.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (count, *image_shape)
    kinds = {
        "uniform noise": torch.randint(256, shape, dtype=torch.uint8, generator=generator),
        "Gaussian noise": torch.randn(shape, generator=generator).mul(64).add(128).clamp(0, 255).to(torch.uint8),
    }
    if synthetic:
        shapes = SyntheticSource(test_size=count).test().images
        kinds["drawn shapes"] = _as_shape(shapes, image_shape)
    return kinds


def _as_shape(images: Tensor, image_shape: Sequence[int]) -> Tensor:
    """RGB images [N, 3, H, W] as images of other channels, height and width."""
    channels, *size = image_shape
    if channels == 1:
        images = images.float().mean(1, keepdim=True).round().to(torch.uint8)
    return images if list(images.shape[2:]) == size else interpolate(images, size=tuple(size))

"""Random changes of training images, a whole batch at a time; off by default.

They draw from torch's global generator, so `seed_everything` and a run's checkpoint decide them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor


def random_flip(images: Tensor) -> Tensor:
    """Mirror each image [B, C, H, W] left to right with probability one half."""
    return flip(images, torch.rand(len(images), device=images.device) < 0.5)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror those of the images [B, C, H, W] left to right that are chosen, bool [B]."""
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


def random_crop(images: Tensor, padding: int) -> Tensor:
    """Pad each image [B, C, H, W] with `padding` black pixels on every side and cut its old size out at random."""
    tops, lefts = torch.randint(2 * padding + 1, (2, len(images)), device=images.device)
    return crop(images, tops, lefts, padding)


def crop(images: Tensor, tops: Tensor, lefts: Tensor, padding: int) -> Tensor:
    """Pad images [B, C, H, W] on every side and cut their old size out; `tops` and `lefts` [B] are 0 to 2 padding."""
    batch, channels, height, width = images.shape
    padded = F.pad(images, [padding] * 4)
    rows = (tops[:, None] + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (lefts[:, None] + torch.arange(width, device=images.device))[:, None, None, :]
    image = torch.arange(batch, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[image, channel, rows, columns]


def random_cutout(images: Tensor, size: int) -> Tensor:
    """Paint a square of `size` pixels, somewhere in each image [B, C, H, W], in the image's mean color.

    The square's centre is any pixel, so it may reach beyond the image (DeVries and Taylor 2017, arXiv:1708.04552).
    """
    height, width = images.shape[-2:]
    squares = _inside(height, len(images), size, images.device)[:, None, :, None]
    squares = squares & _inside(width, len(images), size, images.device)[:, None, None, :]
    return torch.where(squares, images.float().mean((2, 3), keepdim=True).to(images.dtype), images)


def _inside(length: int, count: int, size: int, device: torch.device) -> Tensor:
    """Which of the places [count, length] are in an interval of `size` places around a random one."""
    starts = torch.randint(length, (count, 1), device=device) - size // 2
    places = torch.arange(length, device=device)
    return (places >= starts) & (places < starts + size)


def random_mixup(images: Tensor, labels: Tensor, alpha: float, classes: int) -> tuple[Tensor, Tensor]:
    """Blend each image with another of its batch, and their labels alike (Zhang et al. 2018, arXiv:1710.09412).

    Args:
        images: uint8 [B, C, H, W].
        labels: int64 [B].
        alpha: Both parameters of the Beta distribution of an image's share; small values blend little.
        classes: Number of classes.

    Returns:
        Images, uint8 [B, C, H, W], and class probabilities [B, classes].
    """
    shares = torch.distributions.Beta(*torch.full((2,), alpha, device=images.device)).sample((len(images),))
    other = torch.randperm(len(images), device=images.device)
    share = shares[:, None, None, None]
    mixed = (share * images + (1 - share) * images[other]).round().to(images.dtype)
    one_hot = F.one_hot(labels, classes).to(shares.dtype)
    return mixed, shares[:, None] * one_hot + (1 - shares[:, None]) * one_hot[other]

"""Random changes of training images, a whole batch at a time; off by default."""

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

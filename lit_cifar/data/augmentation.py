"""Random changes of training images, a whole batch at a time; off by default."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor


def random_flip(images: Tensor) -> Tensor:
    """Mirror each image [B, C, H, W] left to right with probability one half."""
    flipped = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(flipped, images.flip(-1), images)


def random_crop(images: Tensor, padding: int) -> Tensor:
    """Pad each image [B, C, H, W] with `padding` black pixels on every side and cut its old size out at random."""
    batch, channels, height, width = images.shape
    padded = F.pad(images, [padding] * 4)
    tops, lefts = torch.randint(2 * padding + 1, (2, batch, 1), device=images.device)
    rows = (tops + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (lefts + torch.arange(width, device=images.device))[:, None, None, :]
    image = torch.arange(batch, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[image, channel, rows, columns]

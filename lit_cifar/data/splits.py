"""Which images are used for training, and which are held out for validation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_cifar.utils.errors import UserError

DEFAULT_SHARE = 0.1
"""The share of the training images that is held out for validation unless told otherwise: 5,000 of CIFAR-10."""


def split_indices(labels: Tensor, size: float, seed: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Divide images into a training and a validation set; each class keeps its share of both, within one image.

    Args:
        labels: The images' labels, int64 [N].
        size: Number of validation images; a number below 1 is a share of the images (at least one for each class).
        seed: Decides which images are held out.
        num_classes: Number of classes.

    Returns:
        The indices of the training images and of the validation images, ascending.

    Raises:
        UserError: if no training image of some class would be left.
    """
    count = len(labels)
    total = int(size) if size >= 1 else max(num_classes, round(size * count))
    most = count - num_classes
    if total > most:
        advice = f"Use at most {most}." if most > 0 else "Add images."
        raise UserError(
            f"val_size={size:g} is too large: there are {count} training images of {num_classes} classes, and each "
            f"class must keep some for training. {advice}"
        )
    is_val = _drawn(labels, total, seed, num_classes)
    return (~is_val).nonzero().squeeze(1), is_val.nonzero().squeeze(1)


def reduced_indices(labels: Tensor, size: int, seed: int, num_classes: int) -> Tensor:
    """Keep so many images: each class keeps its share, within one image, and a smaller set is part of a larger one.

    Args:
        labels: The images' labels, int64 [N].
        size: Number of images to keep.
        seed: Decides which images are kept.
        num_classes: Number of classes.

    Returns:
        The indices of the images kept, ascending.

    Raises:
        UserError: if there are fewer images, or fewer wanted than there are classes.
    """
    if not num_classes <= size <= len(labels):
        raise UserError(
            f"train_size={size} can't be used: there are {len(labels)} training images of {num_classes} classes, "
            f"validation images not counted. Use {num_classes} to {len(labels)}."
        )
    return _drawn(labels, size, seed, num_classes).nonzero().squeeze(1)


def _drawn(labels: Tensor, total: int, seed: int, num_classes: int) -> Tensor:
    """A mask [N] of so many images, drawn at random from each class in proportion to its size."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.bincount(labels, minlength=num_classes).tolist()
    mask = torch.zeros(len(labels), dtype=torch.bool)
    for label, share in enumerate(_shares(counts, total)):
        members = (labels == label).nonzero().squeeze(1)
        mask[members[torch.randperm(len(members), generator=generator)[:share]]] = True
    return mask


def _shares(counts: Sequence[int], total: int) -> list[int]:
    """Divide a total in proportion to the counts, in whole numbers (largest remainders)."""
    exact = [total * count / sum(counts) for count in counts]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(counts)), key=lambda index: shares[index] - exact[index])
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares

"""Checks of CIFAR10DataModule's options."""

from __future__ import annotations

from lit_cifar.data.sources import IMAGE_SHAPE
from lit_cifar.utils.errors import UserError


def check_options(*, batch_size: int, val_size: float | None, crop_padding: int, cutout: int, mixup: float) -> None:
    """Raise a UserError if an option of CIFAR10DataModule is out of range."""
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size} is too small: a batch has at least 1 image.")
    if val_size is not None and (val_size <= 0 or (val_size > 1 and val_size != int(val_size))):
        raise UserError(f"val_size={val_size:g} can't be used: give a number of images, or a share between 0 and 1.")
    if crop_padding < 0:
        raise UserError(f"crop_padding={crop_padding} is negative: use 0 for no cropping.")
    if cutout < 0:
        raise UserError(f"cutout={cutout} is negative: use 0 for no cutout.")
    if not 0 <= mixup < float("inf"):
        raise UserError(f"mixup={mixup} is out of range: use a number above 0, such as 0.2, or 0 for no mixup.")


LARGEST = 256
"""Above it, the images of a usual folder and the first layer of a dense network don't fit into memory."""


def check_image_size(size: int, *, is_free: bool) -> None:
    """Check the size that pictures are scaled to.

    Args:
        size: Width and height.
        is_free: Whether the source's images can be scaled.

    Raises:
        UserError: If the size can't be used.
    """
    if not 8 <= size <= LARGEST:
        raise UserError(f"image_size={size} is out of range: use a number of pixels from 8 to {LARGEST}.")
    if size != IMAGE_SHAPE[1] and not is_free:
        raise UserError(f"image_size={size} is for pictures in folders: use source='folder'. Other images are 32×32.")

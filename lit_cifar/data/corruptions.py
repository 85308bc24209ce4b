"""Corrupted images, to measure a network under distribution shift.

Kinds and severities are those of CIFAR-10-C (Hendrycks and Dietterich 2019, arXiv:1903.12261; github.com/hendrycks/
robustness, `make_cifar_c.py`), made by torchvision and Pillow: the same in kind and strength, not bit for bit.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lit_cifar.utils.errors import UserError

Corruption = Literal["noise", "blur", "contrast", "brightness", "jpeg", "pixelate"]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
SEVERITIES = range(1, 6)

STRENGTHS: dict[Corruption, tuple[float, ...]] = {
    "noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "blur": (0.4, 0.6, 0.7, 0.8, 1.0),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "jpeg": (80, 65, 58, 50, 40),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
}
"""For severities 1 to 5: standard deviation of Gaussian noise (of a range of 1), standard deviation of a Gaussian blur
in pixels, share of contrast left, brightness added, JPEG quality, share of the resolution left."""

_CHUNK = 1000


def corrupt(images: Tensor, corruption: Corruption, severity: int, *, seed: int = 0) -> Tensor:
    """Corrupted copies of uint8 images [N, C, H, W]; noise follows from the seed and the image's place.

    Raises:
        UserError: if there is no such corruption or severity.
    """
    check(corruption, severity)
    strength = STRENGTHS[corruption][severity - 1]
    if corruption == "noise":
        return _noise(images, strength, seed)
    return torch.cat([_CORRUPT[corruption](chunk, strength) for chunk in images.split(_CHUNK)])


def check(corruption: str | None, severity: int) -> None:
    """Raise a UserError if the corruption or the severity is invalid."""
    if corruption not in (None, *CORRUPTIONS):
        raise UserError(f"corruption={corruption!r} is unknown: use one of {', '.join(CORRUPTIONS)}.")
    if severity not in SEVERITIES:
        raise UserError(f"severity={severity} is out of range: use 1 (hardly visible) to 5.")


def _noise(images: Tensor, deviation: float, seed: int) -> Tensor:
    noisy = torch.empty_like(images)
    for place, image in enumerate(images):
        draw = np.random.default_rng([seed, place]).standard_normal(image.shape, dtype=np.float32)
        noisy[place] = _to_uint8(_to_float(image) + deviation * torch.from_numpy(draw))
    return noisy


def _blur(images: Tensor, deviation: float) -> Tensor:
    # imported late, because it takes a second
    from torchvision.transforms.v2.functional import gaussian_blur  # type: ignore[import-untyped]

    radius = math.ceil(4 * deviation)
    return _to_uint8(gaussian_blur(_to_float(images), [2 * radius + 1] * 2, [deviation] * 2))


def _contrast(images: Tensor, share: float) -> Tensor:
    """Unlike torchvision's function, keeps the mean of each channel."""
    pixels = _to_float(images)
    return _to_uint8(torch.lerp(pixels.mean((2, 3), keepdim=True), pixels, share))


def _brightness(images: Tensor, added: float) -> Tensor:
    """The value of hue, saturation and value is raised; torchvision's multiplies instead."""
    pixels = _to_float(images)
    value = pixels.amax(1, keepdim=True)
    raised = (value + added).clamp_max(1)
    return _to_uint8(torch.where(value > 0, pixels * raised / value, raised))


def _jpeg(images: Tensor, quality: float) -> Tensor:
    """Uses Pillow, because torchvision's function is deprecated."""

    def compressed(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _with_pillow(images, compressed)


def _pixelate(images: Tensor, share: float) -> Tensor:
    """Uses Pillow, because torchvision has no box filter for tensors."""
    size = images.shape[3], images.shape[2]
    small = int(size[0] * share), int(size[1] * share)
    box = Image.Resampling.BOX
    return _with_pillow(images, lambda picture: picture.resize(small, box).resize(size, box))


def _with_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    grey = images.shape[1] == 1
    pixels = (images[:, 0] if grey else images.permute(0, 2, 3, 1)).numpy()
    changed = torch.from_numpy(np.stack([np.asarray(change(Image.fromarray(image))) for image in pixels]))
    return changed[:, None] if grey else changed.permute(0, 3, 1, 2).contiguous()


_CORRUPT: dict[Corruption, Callable[[Tensor, float], Tensor]] = {
    "blur": _blur,
    "contrast": _contrast,
    "brightness": _brightness,
    "jpeg": _jpeg,
    "pixelate": _pixelate,
}


def _to_float(images: Tensor) -> Tensor:
    return images.float() / 255


def _to_uint8(pixels: Tensor) -> Tensor:
    return pixels.mul(255).round().clamp(0, 255).to(torch.uint8)

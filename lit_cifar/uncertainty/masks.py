"""Dropout masks that are set from outside the layers and don't depend on the batches."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIXING = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, None))
_RATES = 2**16
_CACHED_WORDS = 2**16
"""Number of 64-bit words to mix at a time on a CPU, so that they stay in its cache."""


@dataclass(frozen=True)
class Draw:
    """A request for the masks of one call of one dropout layer.

    Args:
        call: Number of calls of dropout layers before this one in the same forward pass.
        rate: Probability that a unit is dropped.
        shape: Shape of one image's mask: that of the layer's input without the batch, and 1 in dimensions that are
            dropped as a whole.
        samples: The Monte Carlo samples.
        images: The indices of the images.
        dtype: Data type of the layer's input.
        device: Device of the layer's input.
    """

    call: int
    rate: float
    shape: tuple[int, ...]
    samples: range
    images: range
    dtype: torch.dtype
    device: torch.device


class Masks(ABC):
    """Decides which units each dropout layer keeps, for each Monte Carlo sample and image."""

    @abstractmethod
    def keep(self, draw: Draw) -> Tensor:
        """The masks [samples, images or 1, *shape]: 1 for a unit that is kept, 0 for one that is dropped."""


class SeededMasks(Masks):
    """Random masks that depend only on seed, layer call, sample and image.

    They are independent of batches and devices. torch's random state is neither used nor changed. The bits come from
    SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195). Its counter runs over images and units; it
    starts at a hash of the rest. Each unit takes 16 bits, so rates are rounded to the nearest 1/65536.

    Args:
        seed: Any integer.
        shared: Whether all images of a sample share its masks. Otherwise each image has its own.
    """

    def __init__(self, seed: int, *, shared: bool = False) -> None:
        self.seed = seed
        self.shared = shared

    def keep(self, draw: Draw) -> Tensor:
        images = range(1) if self.shared else draw.images
        units = prod(draw.shape)
        words = -(-units // 4)
        indices = torch.arange(images.start, images.stop, images.step, device=draw.device)[:, None]
        starts = torch.tensor(_starts(self.seed, draw.call, draw.samples), device=draw.device)[:, None]
        counters = (indices * words + torch.arange(words, device=draw.device)).flatten().mul_(GOLDEN_GAMMA)
        dropped = min(max(round(draw.rate * _RATES), 1), _RATES - 1) - _RATES // 2
        keep = torch.empty(len(starts), len(images), units, dtype=draw.dtype, device=draw.device)
        at_once = max(1, _CACHED_WORDS // len(counters)) if draw.device.type == "cpu" else len(starts)
        for some_starts, some_keep in zip(starts.split(at_once), keep.split(at_once), strict=True):
            bits = splitmix64(some_starts + counters).view(torch.int16).view(len(some_starts), len(images), -1)
            torch.ge(bits[..., :units], dropped, out=some_keep)
        return keep.view(*keep.shape[:2], *draw.shape)


@lru_cache(maxsize=1024)
def _starts(seed: int, call: int, samples: range) -> tuple[int, ...]:
    """The start of the counter for each sample, for one call of a dropout layer."""
    digests = (hashlib.blake2b(f"{seed} {call} {sample}".encode(), digest_size=8).digest() for sample in samples)
    return tuple(int.from_bytes(digest, "little", signed=True) for digest in digests)


def splitmix64(counters: Tensor) -> Tensor:
    """Turn int64 counters into random bits, in place."""
    for shift, factor in _MIXING:
        # int64 shifts copy the sign bit; SplitMix64 needs unsigned shifts
        counters ^= (counters >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        if factor is not None:
            counters *= factor
    return counters

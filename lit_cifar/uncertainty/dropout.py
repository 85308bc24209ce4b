"""Which units a network's dropout layers drop, decided from outside: reproducible, and whatever the batches are."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from lit_cifar.utils.errors import UserError

_ELEMENTWISE = (nn.Dropout, nn.AlphaDropout)
_CHANNELWISE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)
_ALPHA = (nn.AlphaDropout, nn.FeatureAlphaDropout)
_UNBATCHED = {nn.Dropout1d.forward: 2, nn.Dropout3d.forward: 4}
"""Input dimensions at which a layer takes the first one for its channels: it then drops whole rows."""

_SELU_FLOOR = -1.7580993408473766
"""SELU's value far below zero, which alpha dropout gives to a dropped unit."""

_GOLDEN_GAMMA = 0x9E3779B97F4A7C15 - 2**64
_MIXING = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, None))
_RATES = 2**16
_CACHED_WORDS = 2**16
"""64-bit words to mix at a time on a CPU: a dozen passes over them, so they had better stay in the cache."""


@dataclass(frozen=True)
class Draw:
    """The masks that one call of one dropout layer needs.

    Args:
        call: How many calls of dropout layers came before it in the same forward pass.
        rate: Probability that a unit is dropped.
        shape: One image's mask: the layer's input without the batch, 1 where units are dropped together.
        samples: The Monte Carlo samples.
        images: The images, by number.
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
    """Says which units each dropout layer keeps, for each Monte Carlo sample and image."""

    @abstractmethod
    def keep(self, draw: Draw) -> Tensor:
        """1 for a unit that is kept, 0 for one that is dropped: [samples, images or 1, *shape]."""


class SeededMasks(Masks):
    """Random masks, each a function of seed, layer call, sample and image alone.

    So they depend neither on batches nor on the device, nor on torch's random state, and they don't change it.
    The bits are SplitMix64's (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195): its counter counts images and
    units, its start is a hash of the rest. Each unit takes 16 bits: rates are rounded to the nearest 1/65536.

    Args:
        seed: Any integer.
        shared: Whether all images share a sample's masks. Otherwise each image has its own.
    """

    def __init__(self, seed: int, *, shared: bool = False) -> None:
        self.seed = seed
        self.shared = shared

    def keep(self, draw: Draw) -> Tensor:
        images = range(1) if self.shared else draw.images
        units = prod(draw.shape)
        words = -(-units // 4)
        numbers = torch.arange(images.start, images.stop, images.step, device=draw.device)[:, None]
        starts = torch.tensor(_starts(self.seed, draw.call, draw.samples), device=draw.device)[:, None]
        counters = (numbers * words + torch.arange(words, device=draw.device)).flatten().mul_(_GOLDEN_GAMMA)
        dropped = min(max(round(draw.rate * _RATES), 1), _RATES - 1) - _RATES // 2
        keep = torch.empty(len(starts), len(images), units, dtype=draw.dtype, device=draw.device)
        at_once = max(1, _CACHED_WORDS // len(counters)) if draw.device.type == "cpu" else len(starts)
        for some_starts, some_keep in zip(starts.split(at_once), keep.split(at_once), strict=True):
            bits = _splitmix64(some_starts + counters).view(torch.int16).view(len(some_starts), len(images), -1)
            torch.ge(bits[..., :units], dropped, out=some_keep)
        return keep.view(*keep.shape[:2], *draw.shape)


@lru_cache(maxsize=1024)
def _starts(seed: int, call: int, samples: range) -> tuple[int, ...]:
    """Where the counters of one call of a dropout layer start for each sample."""
    digests = (hashlib.blake2b(f"{seed} {call} {sample}".encode(), digest_size=8).digest() for sample in samples)
    return tuple(int.from_bytes(digest, "little", signed=True) for digest in digests)


def _splitmix64(counters: Tensor) -> Tensor:
    """Turn int64 counters into random bits, in place."""
    for shift, factor in _MIXING:
        # int64 shifts copy the sign bit: without it they are SplitMix64's unsigned ones
        counters ^= (counters >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        if factor is not None:
            counters *= factor
    return counters


class Switch:
    """Applies masks behind a network's dropout layers, which pass their input on in evaluation mode."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self.select(range(1), range(0))

    def select(self, samples: range, images: range) -> None:
        """Say what the rows of the next forward pass are: these images for the first sample, then for the next."""
        self._samples, self._images, self.calls = samples, images, 0

    def hook(self, layer: _DropoutNd, inputs: object, x: Tensor) -> Tensor:
        """A forward hook: the layer's output with some units dropped."""
        rows = len(self._samples) * len(self._images)
        if not rows or len(x) % rows:
            raise UserError(
                f"{layer} was given a tensor of shape {list(x.shape)} for {rows} images: a dropout layer's first "
                "dimension must be the images. Use layers with batch_first=True, or move the images to the front."
            )
        folded = x.reshape(len(self._samples), len(self._images), len(x) // rows, *x.shape[1:])
        return _drop(layer, folded, self._keep(layer, x, len(x) // rows)).reshape(x.shape)

    def linear(self, linear: nn.Linear, layer: _DropoutNd, x: Tensor) -> Tensor:
        """`linear(layer(x))` [samples * N, C] of every sample, for images [N, units] that the samples share.

        The images multiply the weights, or with shared masks the masks do, so no sample needs units of its own.
        """
        keep = self._keep(layer, x, 1).flatten(2)
        scale, floor, shift = _affine(layer)
        kept = (x - floor) * scale
        if keep.shape[1] == 1:
            logits = kept @ (keep * linear.weight).transpose(1, 2)
        else:
            logits = (keep.transpose(0, 1) @ (kept[:, None] * linear.weight).transpose(1, 2)).transpose(0, 1)
        constant = linear.weight.sum(1) * (scale * floor + shift)
        return (logits + (constant if linear.bias is None else constant + linear.bias)).flatten(0, 1)

    def _keep(self, layer: _DropoutNd, x: Tensor, rows_per_image: int) -> Tensor:
        shape = (rows_per_image, *_mask_shape(layer, x))
        draw = Draw(self.calls, layer.p, shape, self._samples, self._images, x.dtype, x.device)
        self.calls += 1
        return self._masks.keep(draw).to(x)


def _mask_shape(layer: _DropoutNd, x: Tensor) -> tuple[int, ...]:
    """The shape of one row's mask."""
    if isinstance(layer, _ELEMENTWISE):
        return tuple(x.shape[1:])
    whole_row = x.dim() == _UNBATCHED.get(type(layer).forward)
    return (1 if whole_row else x.shape[1], *(1 for _ in x.shape[2:]))


def _affine(layer: _DropoutNd) -> tuple[float, float, float]:
    """Scale, floor and shift: in training mode the layer returns scale * (x or, where dropped, floor) + shift."""
    if not isinstance(layer, _ALPHA):
        return 1 / (1 - layer.p), 0.0, 0.0
    # Klambauer et al. 2017, arXiv:1706.02515: mean 0 and variance 1 stay what they are
    scale = ((1 - layer.p) * (1 + layer.p * _SELU_FLOOR**2)) ** -0.5
    return scale, _SELU_FLOOR, -scale * layer.p * _SELU_FLOOR


def _drop(layer: _DropoutNd, x: Tensor, keep: Tensor) -> Tensor:
    """Drop the units that aren't kept, as the layer does in training mode."""
    if layer.p == 1:
        return torch.zeros_like(x)
    scale, floor, shift = _affine(layer)
    if not floor:
        return x * (keep * scale)
    return torch.addcmul((keep * (-scale * floor)).add_(scale * floor + shift), x, keep, value=scale)


def takes_masks(linear: nn.Linear, layer: _DropoutNd, x: Tensor) -> bool:
    """Whether `Switch.linear` may stand for the two layers: no hook but ours would miss its call."""
    hooks = (linear._forward_hooks, linear._forward_pre_hooks, layer._forward_pre_hooks)
    plain = type(linear) is nn.Linear and isinstance(layer, _ELEMENTWISE) and 0 < layer.p < 1 and x.dim() == 2
    return plain and not any(hooks) and len(layer._forward_hooks) == 1


@contextmanager
def masked_dropout(network: nn.Module, masks: Masks) -> Iterator[Switch]:
    """Inside, the network is in evaluation mode except that its dropout layers drop what the masks say.

    Before each forward pass, `select` says which samples and images its rows are. Afterwards everything is as it was,
    also after an exception. The network must not be used from another thread meanwhile.

    Raises:
        UserError: if the network has no active dropout layer, or one that isn't torch's own.
    """
    layers = active_dropout(network)
    switch = Switch(masks)
    modes = {module: module.training for module in network.modules()}
    # fused attention would bypass the dropout layers inside torch's transformer layers
    fused = torch.backends.mha.get_fastpath_enabled()
    hooks = [layer.register_forward_hook(switch.hook, prepend=True) for layer in layers]
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        _set_modes(dict.fromkeys(modes, False))
        yield switch
    finally:
        for hook in hooks:
            hook.remove()
        _set_modes(modes)
        torch.backends.mha.set_fastpath_enabled(fused)


def dropout_layers(network: nn.Module) -> list[_DropoutNd]:
    """The network's dropout layers with a rate above 0; without one, MC dropout is impossible."""
    return [module for module in network.modules() if isinstance(module, _DropoutNd) and module.p > 0]


def active_dropout(network: nn.Module) -> list[_DropoutNd]:
    """The network's `dropout_layers`, which MC dropout can switch on.

    Raises:
        UserError: if there is none, or one whose class overrides `forward`.
    """
    active = dropout_layers(network)
    if not active:
        layers = [module for module in network.modules() if isinstance(module, _DropoutNd)]
        found = f"its {len(layers)} dropout layers all have p=0" if layers else "it has no dropout layers"
        raise UserError(
            f"Monte Carlo dropout needs a network that drops units, but {found}. Use one that was trained with "
            "dropout layers of p above 0. (Calls of torch.nn.functional.dropout can't be switched on from outside: "
            "make them nn.Dropout layers.)"
        )
    known = {kind.forward for kind in (*_ELEMENTWISE, *_CHANNELWISE)}
    for layer in active:
        if type(layer).forward not in known:
            raise UserError(
                f"{type(layer).__name__} has a forward of its own, so what it drops can't be decided from outside. "
                "Use one of torch's own dropout layers."
            )
    return active


def _set_modes(modes: dict[nn.Module, bool]) -> None:
    # not train(): networks override it, to freeze or to merge layers
    for module, training in modes.items():
        module.training = training

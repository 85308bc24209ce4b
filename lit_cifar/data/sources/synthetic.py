"""Ten classes of drawn 32×32 images, which are bit-identical on every machine.

Everything is integer arithmetic on the raw output of a bit generator, which NumPy guarantees never to change. There is
no such guarantee for NumPy's random distributions, libm and BLAS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lit_cifar.data.sources.base import IMAGE_SHAPE, ImageSet, Source
from lit_cifar.utils.errors import UserError

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Pixels = NDArray[np.int16]
Color = tuple[int, int, int]


class _Shape(NamedTuple):
    """A class: the points (x, y) in [-256, 256]² that its shape covers (y points down), and its typical colors."""

    covers: Callable[[Integers, Integers], Mask]
    color: Color
    background: Color


def _triangle(x: Integers, y: Integers) -> Mask:
    return (y < 120) & (97 * np.abs(x) < 56 * (y + 230))  # 97/56 is √3 to four digits


def _star(x: Integers, y: Integers) -> Mask:
    """A pentagram: the points on the inner side of at least four of the five edges of a pentagon."""
    edges = ((0, 1000), (951, 309), (588, -809), (-588, -809), (-951, 309))
    inner_sides: Integers = np.stack([a * x + b * y < 73_000 for a, b in edges]).sum(axis=0)
    return inner_sides >= 4


def _heart(x: Integers, y: Integers) -> Mask:
    x = np.abs(x)
    return _in_disc(x - 95, y + 85, 112) | ((y > -85) & (10 * x < 7 * (210 - y)) & (x < 205))


def _in_disc(x: Integers, y: Integers, radius: int) -> Mask:
    return x * x + y * y < radius * radius


def _in_square(x: Integers, y: Integers, half_side: int) -> Mask:
    return np.maximum(np.abs(x), np.abs(y)) < half_side


_SHAPES = {
    "disc": _Shape(lambda x, y: _in_disc(x, y, 210), (230, 60, 50), (150, 170, 200)),
    "ring": _Shape(lambda x, y: _in_disc(x, y, 210) & ~_in_disc(x, y, 125), (60, 150, 230), (90, 60, 90)),
    "square": _Shape(lambda x, y: _in_square(x, y, 180), (240, 200, 60), (40, 60, 120)),
    "triangle": _Shape(_triangle, (70, 190, 90), (30, 30, 70)),
    "cross": _Shape(
        lambda x, y: _in_square(x, y, 215) & (np.minimum(np.abs(x), np.abs(y)) < 65), (200, 90, 200), (100, 130, 140)
    ),
    "star": _Shape(_star, (250, 140, 40), (120, 90, 60)),
    "crescent": _Shape(lambda x, y: _in_disc(x, y, 210) & ~_in_disc(x - 100, y, 170), (80, 220, 220), (180, 160, 130)),
    "heart": _Shape(_heart, (240, 120, 160), (60, 110, 60)),
    "stripes": _Shape(lambda x, y: _in_square(x, y, 216) & ((x + 216) // 62 % 2 == 0), (150, 110, 70), (140, 130, 100)),
    "checker": _Shape(
        lambda x, y: _in_square(x, y, 216) & (((x + 216) // 108 + (y + 216) // 108) % 2 == 0),
        (150, 150, 165),
        (70, 70, 80),
    ),
}
_COLORS = np.array([shape.color for shape in _SHAPES.values()])
_BACKGROUNDS = np.array([shape.background for shape in _SHAPES.values()])

_BATCH = 250
"""Number of images that are drawn together, from their own random stream."""

_PIXEL = 16
"""Positions and radii are in sixteenths of a pixel."""

_CELLS, _OPAQUE = 64, 64
"""Cells along each side of a shape's template. Each cell is between transparent, 0, and opaque."""

_TURN = 256
"""Angles are in 256ths of a turn. Cosines are rounded to a coarse grid, so all libms give the same ones."""
_COSINE = np.array([round(256 * math.cos(2 * math.pi * angle / _TURN)) for angle in range(_TURN)])

_NODES = 5
"""Backgrounds are interpolated between the colors of 5×5 nodes, 8 pixels apart."""
_STEPS = np.arange(1, 16, 2, dtype=np.uint16)  # positions of the pixels between the nodes, in sixteenths


class SyntheticSource(Source):
    """A built-in replacement for CIFAR-10 that needs no files: ten classes of drawn shapes, with similar difficulties.

    Shapes vary in position, size, angle and color. There are uneven backgrounds, smaller shapes around and on them, and
    noise. A third of the shapes and of the backgrounds have the typical color of their class, as airplanes often have a
    blue sky. Each ten consecutive images contain each class once, in random order. A smaller set is the beginning of a
    larger one.

    Test accuracy, standardized pixels, NAdam one-cycle, one run each: 33.6 % for the best linear classifier; for the
    20×100 dense net after 20 epochs in batches of 128, 57.9 % with ELU (5e-4), 58.9 % with SELU (5e-4) and 63.2 % with
    batch normalization (3e-3). Their training accuracies are then 79, 80 and 76 %.
    `tests/data/sources/test_synthetic.py` has a slow test that trains two of them.

    Args:
        train_size: Number of training images.
        test_size: Number of test images.
        seed: Seed of the images.

    Raises:
        UserError: If a size is below 10, so that a class would be missing, or the seed is negative.
    """

    name = "synthetic shapes"
    class_names = tuple(_SHAPES)

    def __init__(self, *, train_size: int = 50_000, test_size: int = 10_000, seed: int = 0) -> None:
        self.train_size = _at_least("train_size", train_size, len(_SHAPES))
        self.test_size = _at_least("test_size", test_size, len(_SHAPES))
        self.seed = _at_least("seed", seed, 0)

    def prepare(self) -> None:
        """Do nothing: the images are drawn when they are asked for, which takes seconds."""

    def train(self) -> ImageSet:
        return _draw_set(self.train_size, self.seed, 0)

    def test(self) -> ImageSet:
        return _draw_set(self.test_size, self.seed, 1)


class _Draws:
    """Random integers of one stream, the same on every platform and with every version of NumPy."""

    def __init__(self, seed: int, *stream: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=stream))

    def raw(self, *shape: int) -> NDArray[np.uint64]:
        return np.asarray(self._bits.random_raw(shape))

    def integers(self, low: int, high: int, *shape: int) -> Integers:
        """Uniform integers from low to high - 1."""
        return (((self.raw(*shape) >> 32) * np.uint64(high - low)) >> 32).astype(np.int64) + low

    def chance(self, percent: int, *shape: int) -> Mask:
        return self.integers(0, 100, *shape) < percent

    def permutations(self, count: int, length: int) -> Integers:
        return self.raw(count, length).argsort(axis=1, kind="stable")

    def noise(self, *shape: int) -> Pixels:
        """Triangular integers from -15 to 15, sums of two uniform half bytes. The last size must be a multiple of 8."""
        both = self.raw(*shape[:-1], shape[-1] // 8).astype("<u8").view(np.uint8)
        return ((both & 15) + (both >> 4)).astype(np.int16) - 15


class _Pose(NamedTuple):
    """The placement of shapes [B]: center and radius in sixteenths of a pixel, angle in 256ths of a turn."""

    x: Integers
    y: Integers
    radius: Integers
    angle: Integers


@lru_cache(maxsize=2)  # all runs of a study use the same images
def _draw_set(size: int, seed: int, split: int) -> ImageSet:
    images = np.empty((size, *IMAGE_SHAPE), np.uint8)
    labels = np.empty(size, np.int64)

    def draw(start: int) -> None:
        batch = slice(start, start + _BATCH)
        drawn, drawn_labels = _draw_batch(_Draws(seed, split, start))
        images[batch], labels[batch] = drawn[: size - start], drawn_labels[: size - start]

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(draw, range(0, size, _BATCH)))
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))


def _draw_batch(draws: _Draws) -> tuple[Pixels, Integers]:
    labels = draws.permutations(_BATCH // len(_SHAPES), len(_SHAPES)).reshape(-1)
    nodes = _background_nodes(draws, labels)
    images = _interpolate(nodes)
    _paint_clutter(images, draws)
    _paint(images, labels, _object_pose(draws), _object_colors(draws, labels, nodes))
    _paint_clutter(images, draws)
    _paint_clutter(images, draws)
    images += draws.noise(*images.shape) * draws.integers(0, 9, _BATCH, 1, 1, 1).astype(np.int16) >> 2
    return np.clip(images, 0, 255, out=images), labels


def _background_nodes(draws: _Draws, labels: Integers) -> Integers:
    """Colors [B, 3, 5, 5] of the nodes: one color per image, a gradient and blotches."""
    color = _colors(draws, _BACKGROUNDS[labels], 50)
    along_x, along_y = (draws.integers(-20, 21, _BATCH, 3, 1, 1) for _ in range(2))
    ramp = np.arange(_NODES) - _NODES // 2
    gradient = along_x * ramp + along_y * ramp[:, None]
    grey, colored = (draws.integers(-32, 33, _BATCH, channels, _NODES, _NODES) for channels in (1, 3))
    blotches = (2 * grey + colored) * draws.integers(0, 81, _BATCH, 1, 1, 1) >> 6
    return np.clip(color[:, :, None, None] + gradient + blotches, 0, 255)


def _colors(draws: _Draws, favorites: Integers, spread: int) -> Integers:
    """Colors [B, 3]: similar to the typical one in a third of the images, any color in the others."""
    near = draws.chance(35, _BATCH, 1)
    return np.where(near, favorites + draws.integers(-spread, spread + 1, _BATCH, 3), draws.integers(0, 256, _BATCH, 3))


def _interpolate(nodes: Integers) -> Pixels:
    """Interpolate nodes [B, 3, 5, 5] to images [B, 3, 32, 32]. Weights add up to 256, so sums fit into 16 bits."""
    by_row = _stretch(nodes.astype(np.uint16).swapaxes(2, 3)).swapaxes(2, 3)
    return (_stretch(by_row) >> 8).astype(np.int16)


def _stretch(nodes: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Interpolate the last axis, from 5 to 32."""
    before, after = nodes[..., :-1, None], nodes[..., 1:, None]
    return (before * (16 - _STEPS) + after * _STEPS).reshape(*nodes.shape[:-1], -1)


def _object_pose(draws: _Draws) -> _Pose:
    x, y = draws.integers(11 * _PIXEL, 21 * _PIXEL + 1, 2, _BATCH)
    radius = draws.integers(8 * _PIXEL, 13 * _PIXEL + 1, _BATCH)
    return _Pose(x, y, radius, angle=draws.integers(-24, 25, _BATCH))


def _object_colors(draws: _Draws, labels: Integers, nodes: Integers) -> Integers:
    """Colors [B, 3] that contrast with the background. Most shapes are brighter than it."""
    colors = _colors(draws, _COLORS[labels], 40)
    brighter = (colors.sum(axis=1) - nodes.sum(axis=(1, 2, 3)) // _NODES**2) // 3
    sign = np.where((brighter >= 0) | draws.chance(55, _BATCH), 1, -1)
    colors += (sign * np.maximum(0, 35 - sign * brighter))[:, None]
    return np.clip(colors, 0, 255)


def _paint_clutter(images: Pixels, draws: _Draws) -> None:
    """Paint a small shape of a random class and color on each image."""
    shapes = draws.integers(0, len(_SHAPES), _BATCH)
    x, y = draws.integers(0, 32 * _PIXEL, 2, _BATCH)
    radius = draws.integers(5 * _PIXEL // 2, 5 * _PIXEL, _BATCH)
    pose = _Pose(x, y, radius, angle=draws.integers(0, _TURN, _BATCH))
    _paint(images, shapes, pose, draws.integers(0, 256, _BATCH, 3))


def _paint(images: Pixels, shapes: Integers, pose: _Pose, colors: Integers) -> None:
    """Paint one shape of a color [B, 3] onto each image [B, 3, 32, 32], in place."""
    change = colors.astype(np.int16)[:, :, None, None] - images
    change *= _templates().take(_cells(shapes, pose))[:, None]
    change //= _OPAQUE
    images += change


def _cells(shapes: Integers, pose: _Pose) -> NDArray[np.int32]:
    """The template cell [B, 32, 32] of each pixel, by rotating and scaling the image's coordinates."""
    scale = _CELLS * _PIXEL * 128 // pose.radius  # 256 times the number of cells per pixel
    cosine, sine = (scale * _COSINE[(pose.angle + turn) % _TURN] for turn in (0, -_TURN // 4))
    middles = _PIXEL * np.arange(32) + _PIXEL // 2
    x, y = middles - pose.x[:, None], middles - pose.y[:, None]
    column = _cell(cosine[:, None] * x, sine[:, None] * y)
    row = _cell(-sine[:, None] * x, cosine[:, None] * y)
    return column + _CELLS * row + (_CELLS**2 * shapes).astype(np.int32)[:, None, None]


def _cell(from_x: Integers, from_y: Integers) -> NDArray[np.int32]:
    """The sum of terms [B, 32] in x and in y, in cells from the corner of the template."""
    total = from_x.astype(np.int32)[:, None, :] + from_y.astype(np.int32)[:, :, None]
    total >>= 20
    total += _CELLS // 2
    return np.clip(total, 0, _CELLS - 1, out=total)


@cache
def _templates() -> Pixels:
    """The opacity of each cell of all shapes, in one row. Edges are soft, and cells on the rim are 0."""
    axis = np.arange(-255, 256, 2)
    masks = np.stack([shape.covers(axis[None, :], axis[:, None]) for shape in _SHAPES.values()])
    fine = masks.reshape(-1, _CELLS, 4, _CELLS, 4).sum(axis=(2, 4))
    padded = np.pad(fine, ((0, 0), (1, 1), (1, 1)))
    soft: Integers = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).sum(axis=(3, 4))
    return (soft * _OPAQUE // 144).astype(np.int16).reshape(-1)


def _at_least(name: str, value: int, low: int) -> int:
    if value < low:
        raise UserError(f"{name}={value} is too small for synthetic images: give at least {low}.")
    return value

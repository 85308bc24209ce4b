"""Read picture files of any format and size as square RGB images of one size."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lit_cifar.data.sources.base import IMAGE_SHAPE
from lit_cifar.utils.console import progress_bar
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.machine import usable_cpus

EXTENSIONS = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga"),
    *(".tif", ".tiff", ".webp"),
)
"""Suffixes of picture files, in lower case; other files are ignored."""

BACKGROUND = "white"
"""The color behind transparent pixels."""

CHUNK = 64
"""Pictures that a thread decodes at a time; scheduling single small pictures takes longer than decoding them."""


class PictureFile(NamedTuple):
    """A picture file: its path relative to the folder it was found in (`/` on every platform), size and age.

    Size and time of change are -1 for a link that leads nowhere.
    """

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures read for a prediction.

    Args:
        paths: The path of each image, relative to the folder.
        images: uint8 [N, 3, size, size], in the same order.
        unreadable: The relative paths of files that could not be read, each with the reason.
    """

    paths: tuple[str, ...]
    images: torch.Tensor
    unreadable: Mapping[str, str]


def read_pictures(folder: Path, image_shape: tuple[int, int, int] = IMAGE_SHAPE) -> Pictures:
    """Read the pictures in a folder and its sub-folders, sorted by path, or a single picture file.

    Args:
        folder: The folder or file.
        image_shape: Channels, height and width that they are converted to; 1 channel is grey.

    Raises:
        UserError: If there is no such folder, no picture in it, or the shape isn't square.
    """
    channels, height, size = image_shape
    if height != size:
        raise UserError(f"Pictures are scaled to squares, and this network takes images of {height}×{size} pixels.")
    if folder.is_file():
        root, names = folder.parent, [folder.name]
    else:
        root, names = folder, [file.path for file in list_pictures(folder)]
    if not names:
        kinds = ", ".join(sorted(EXTENSIONS))
        what = "There are no pictures in" if folder.is_dir() else "There is no folder or picture"
        raise UserError(f"{what} {folder}. Give a picture, or a folder with pictures in it ({kinds}).")
    images, problems = decode_all([root / name for name in names], _reading(folder, len(names)), size)
    good = [index for index in range(len(names)) if index not in problems]
    return Pictures(
        paths=tuple(_readable(names[index]) for index in good),
        images=_with_channels(torch.from_numpy(images[good]), channels),
        unreadable={_readable(names[index]): reason for index, reason in problems.items()},
    )


def _reading(path: Path, count: int) -> str:
    return f"Reading {path}" if path.is_file() else f"Reading {count} picture{'s' * (count != 1)} in {path}"


def _readable(name: str) -> str:
    """A file's name as valid Unicode; other bytes become a replacement character."""
    return os.fsencode(name).decode(errors="replace")


def _with_channels(rgb: torch.Tensor, channels: int) -> torch.Tensor:
    """RGB images [N, 3, H, W] as they are, or grey [N, 1, H, W] as Pillow weights colors (ITU-R BT.601)."""
    if channels == rgb.shape[1]:
        return rgb
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    return (rgb * weights).sum(1, keepdim=True).round().to(torch.uint8)


def list_pictures(folder: Path) -> list[PictureFile]:
    """The picture files in a folder and its sub-folders, sorted by path; hidden ones are skipped."""
    return sorted(_walk(folder, "")) if folder.is_dir() else []


def decode_all(
    paths: Sequence[Path], description: str, size: int = IMAGE_SHAPE[1]
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Decode picture files in parallel.

    Args:
        paths: The files.
        description: Text of the progress bar.
        size: Width and height of the images.

    Returns:
        uint8 [N, 3, size, size], and the index of each unreadable file with the reason.
    """
    images = np.zeros((len(paths), IMAGE_SHAPE[0], size, size), dtype=np.uint8)
    problems: dict[int, str] = {}

    def decode_one(index: int) -> None:
        try:
            images[index] = decode(paths[index], size)
        except Exception as error:  # noqa: BLE001 - Pillow's parsers raise nearly anything on damaged files
            problems[index] = str(error) or type(error).__name__

    def decode_chunk(start: int) -> int:
        chunk = range(start, min(start + CHUNK, len(paths)))
        for index in chunk:
            decode_one(index)
        return len(chunk)

    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(usable_cpus(), 32)) as pool,
        progress_bar(description, len(paths)) as advance,
    ):
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for count in pool.map(decode_chunk, range(0, len(paths), CHUNK)):
            advance(count)
    return images, dict(sorted(problems.items()))


def decode(path: Path, size: int = IMAGE_SHAPE[1]) -> NDArray[np.uint8]:
    """Decode the first frame of one picture as uint8 [3, size, size]: upright, RGB, squeezed to a square.

    A picture that has this size already keeps its pixels. Others are resampled (Lanczos, antialiased).
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait for ever
        raise ValueError("it is not a regular file")
    with Image.open(path) as picture:
        ImageOps.exif_transpose(picture, in_place=True)
        rgb = _to_rgb(picture)
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(rgb).transpose(2, 0, 1)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        picture = _to_8_bits(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        background = Image.new("RGBA", picture.size, BACKGROUND)
        picture = Image.alpha_composite(background, picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Scale 16-bit grayscale to 8 bits; Pillow's own conversion clips everything above 255."""
    pixels = np.asarray(picture)
    if picture.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("its brightness has no known range: save it with 8 or 16 bits a channel")
    return Image.fromarray((pixels / 257).round().astype(np.uint8))


def _walk(folder: Path, prefix: str, around: frozenset[tuple[int, int]] = frozenset()) -> Iterator[PictureFile]:
    """The pictures in a folder; links to folders are followed, but not back into a folder that they are in."""
    status = folder.stat()
    here = status.st_dev, status.st_ino
    if here in around:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", around | {here})
            elif entry.name.lower().endswith(EXTENSIONS):
                yield PictureFile(prefix + entry.name, *_size_and_age(entry))


def _size_and_age(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns

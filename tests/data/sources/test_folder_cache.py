"""Decoded pictures are cached outside of their folder, and decoded again when they change."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lit_cifar.data.sources.cache import cache_folders
from lit_cifar.data.sources.folder import FolderSource
from lit_cifar.utils.errors import UserError
from tests.data.sources.drawn import brightness, draw, posix


def count_decoding(monkeypatch) -> list[int]:
    """A list that grows by one for every decoding."""
    done = []
    original = FolderSource.decode
    monkeypatch.setattr(FolderSource, "decode", lambda self: done.append(1) or original(self))
    return done


def test_second_start_decodes_nothing(folder, monkeypatch) -> None:
    decoded = count_decoding(monkeypatch)
    first, second = FolderSource(folder), FolderSource(folder)
    first.prepare()
    first.prepare()
    second.prepare()
    assert (second.train().images == first.train().images).all()
    assert len(decoded) == 1


def change(folder: Path, how: str) -> None:
    picture = folder / "train" / "cat" / "b.png"
    if how == "another added":
        draw(folder / "test" / "ant" / "new.png", 200)
    elif how == "one removed":
        picture.unlink()
    elif how == "one renamed":
        picture.rename(picture.with_name("c.png"))
    elif how == "one moved to another class":
        picture.rename(folder / "train" / "ant" / "b.png")
    elif how == "class renamed":
        for split in ("train", "test"):
            (folder / split / "cat").rename(folder / split / "bee")
    elif how == "one drawn again, of the same size":
        age = picture.stat().st_mtime_ns + 1_000_000
        picture.write_bytes(picture.read_bytes())
        os.utime(picture, ns=(age, age))


@pytest.mark.parametrize(
    "how",
    [
        "another added",
        "one removed",
        "one renamed",
        "one moved to another class",
        "class renamed",
        "one drawn again, of the same size",
    ],
)
def test_changes_are_noticed(folder, monkeypatch, how) -> None:
    FolderSource(folder).prepare()
    before = FolderSource(folder).fingerprint()
    change(folder, how)
    decoded = count_decoding(monkeypatch)
    assert FolderSource(folder).fingerprint() != before
    FolderSource(folder).prepare()
    assert len(decoded) == 1


def test_another_folder_has_another_cache(folder, monkeypatch) -> None:
    """Even one whose files have the same names, sizes and times of change."""
    FolderSource(folder).prepare()
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    decoded = count_decoding(monkeypatch)
    FolderSource(copy).prepare()
    FolderSource(folder).prepare()
    assert len(decoded) == 1


def test_nothing_is_written_into_the_folder(folder, cache) -> None:
    before = sorted(folder.rglob("*"))
    FolderSource(folder).prepare()
    assert sorted(folder.rglob("*")) == before
    assert len(list(cache.glob("pictures-*.npz"))) == 1


@posix
def test_a_fifo_in_the_cache_s_place_is_not_waited_for(folder, cache) -> None:
    FolderSource(folder).prepare()
    (file,) = cache.glob("*.npz")
    file.unlink()
    os.mkfifo(file)
    assert brightness(FolderSource(folder).test().images) == [50, 60]


@posix
def test_without_a_cache_folder_the_temporary_one_is_used(folder, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("LIT_CIFAR_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "file" / "lit_cifar"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    decoded = count_decoding(monkeypatch)
    FolderSource(folder).prepare()
    FolderSource(folder).prepare()
    assert len(decoded) == 1
    (file,) = (tmp_path / "temporary").rglob("pictures-*.npz")
    assert file.parent.stat().st_mode & 0o777 == 0o700


@posix
@pytest.mark.parametrize("whose", ["a link", "another user's"])
def test_a_temporary_folder_that_is_not_the_user_s_own_is_left_alone(folder, tmp_path, monkeypatch, whose) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("LIT_CIFAR_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "file" / "lit_cifar"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "someone")
    own = cache_folders()[-1]
    (tmp_path / "elsewhere").mkdir()
    if whose == "a link":
        own.symlink_to(tmp_path / "elsewhere")
    else:
        own.mkdir()
        monkeypatch.setattr(os, "getuid", lambda: own.stat().st_uid + 1)
    with pytest.raises(UserError, match=r"can be kept neither in .*LIT_CIFAR_CACHE"):
        FolderSource(folder).prepare()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_nowhere_to_write(folder, monkeypatch) -> None:
    (folder.parent / "cache").touch()
    monkeypatch.setenv("LIT_CIFAR_CACHE", str(folder.parent / "cache"))
    with pytest.raises(UserError, match="LIT_CIFAR_CACHE"):
        FolderSource(folder).prepare()


def test_writing_that_fails_leaves_no_cache(folder, cache, monkeypatch) -> None:
    def disk_full(file, **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", disk_full)
        with pytest.raises(UserError, match="No space left"):
            FolderSource(folder).prepare()
    assert not list(cache.glob("*.npz"))
    assert not list(cache.glob("*unfinished*"))
    assert brightness(FolderSource(folder).test().images) == [50, 60]


def test_each_image_size_has_images_and_a_cache_of_its_own(folder, monkeypatch) -> None:
    decoded = count_decoding(monkeypatch)
    for _ in range(2):
        for size in (32, 48):
            source = FolderSource(folder, image_size=size)
            assert source.train().images.shape == (5, 3, size, size)
            assert brightness(source.test().images) == [50, 60]
    assert len(decoded) == 2, "neither cache replaces the other"
    assert FolderSource(folder, image_size=48).name == f"pictures in {folder.as_posix()}, 48×48 pixels"

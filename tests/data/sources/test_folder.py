"""A folder of pictures: its layout is checked, its pictures are cached, its changes are noticed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_cifar.data.sources.cache import FOLDER
from lit_cifar.data.sources.folder import FolderSource
from lit_cifar.utils.errors import UserError

LAYOUT = {
    "train": {"cat": ["b.png", "a.jpg", "deep/er.png"], "ant": ["1.png", "2.png"]},
    "test": {"cat": ["x.png"], "ant": ["y.bmp"]},
}


def draw(path: Path, brightness: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (brightness,) * 3).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven gray pictures, of brightness 0, 10, 20 … in the order in which they are to be found."""
    brightness = 0
    for split, classes in LAYOUT.items():
        for name in sorted(classes):
            for file in sorted(classes[name]):
                draw(tmp_path / "data" / split / name / file, brightness)
                brightness += 10
    return tmp_path / "data"


def brightness(images) -> list[int]:
    return images[:, 0, 0, 0].tolist()


def count_decoding(monkeypatch) -> list[int]:
    """A list that grows by one for every decoding."""
    done = []
    original = FolderSource.decode
    monkeypatch.setattr(FolderSource, "decode", lambda self: done.append(1) or original(self))
    return done


def test_pictures_are_sorted_by_class_and_name(folder) -> None:
    source = FolderSource(folder)
    train, test = source.train(), source.test()
    assert source.class_names == ("ant", "cat")
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    assert brightness(train.images) == [0, 10, 20, 30, 40]
    assert test.labels.tolist() == [0, 1]
    assert brightness(test.images) == [50, 60]
    assert source.name == f"pictures in {folder.as_posix()}"


def test_relative_folder_keeps_its_name(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert FolderSource(Path("data")).name == "pictures in data"


def test_validation_folder_and_other_files_are_left_alone(folder) -> None:
    draw(folder / "valid" / "dog" / "1.png", 99)
    (folder / "train" / "notes.txt").touch()
    (folder / "train" / ".git").mkdir()
    (folder / "train" / "cat" / "Thumbs.db").touch()
    source = FolderSource(folder)
    assert source.class_names == ("ant", "cat")
    assert len(source.train()) == 5


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


def test_folder_moved_as_it_is_keeps_its_cache(folder, monkeypatch) -> None:
    FolderSource(folder).prepare()
    decoded = count_decoding(monkeypatch)
    FolderSource(folder.rename(folder.with_name("moved"))).prepare()
    assert decoded == []


def test_where_the_folder_cannot_be_written_the_users_cache_is_used(folder, monkeypatch) -> None:
    (folder / FOLDER).touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
    decoded = count_decoding(monkeypatch)
    assert brightness(FolderSource(folder).test().images) == [50, 60]
    assert brightness(FolderSource(folder).test().images) == [50, 60]
    assert len(decoded) == 1
    assert len(list((folder.parent / "cache" / "lit_cifar").glob("*/pictures.npz"))) == 1


def test_cache_by_another_user_in_a_folder_that_cannot_be_written_is_used(folder, monkeypatch) -> None:
    FolderSource(folder).prepare()
    monkeypatch.setattr("lit_cifar.data.sources.cache.is_writable", lambda folder: False)
    assert brightness(FolderSource(folder).test().images) == [50, 60]


def test_nowhere_to_write(folder, monkeypatch) -> None:
    (folder / FOLDER).touch()
    (folder.parent / "cache").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
    with pytest.raises(UserError, match="XDG_CACHE_HOME"):
        FolderSource(folder).prepare()


def test_user_without_a_home_uses_the_temporary_folder(folder, tmp_path, monkeypatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    (folder / FOLDER).touch()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    FolderSource(folder).prepare()
    assert len(list((tmp_path / "temporary").rglob("pictures.npz"))) == 1


def test_writing_that_fails_leaves_no_cache(folder, monkeypatch) -> None:
    def disk_full(file, **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", disk_full)
        with pytest.raises(UserError, match="No space left"):
            FolderSource(folder).prepare()
    assert not (folder / FOLDER / "pictures.npz").exists()
    assert brightness(FolderSource(folder).test().images) == [50, 60]


@pytest.mark.parametrize("missing", ["train", "test"])
def test_missing_part_is_named_with_the_layout_wanted(folder, missing) -> None:
    (folder / missing).rename(folder / "elsewhere")
    with pytest.raises(UserError) as failure:
        FolderSource(folder).prepare()
    message = str(failure.value)
    assert "It holds: elsewhere" in message
    assert f"{folder}/train/<class>/<any name>.jpg" in message
    assert f"{folder}/test/<class>/<any name>.jpg" in message


def test_missing_folder(tmp_path) -> None:
    with pytest.raises(UserError, match=r"typo is not a folder.*There is no such folder"):
        FolderSource(tmp_path / "typo").prepare()
    assert not (tmp_path / "typo").exists()


def test_wrong_folder_is_left_as_it_is(tmp_path) -> None:
    with pytest.raises(UserError, match="It holds: nothing"):
        FolderSource(tmp_path).prepare()
    assert list(tmp_path.iterdir()) == []


def test_classes_that_differ_are_named(folder) -> None:
    draw(folder / "train" / "dog" / "1.png", 0)
    draw(folder / "test" / "emu" / "1.png", 0)
    with pytest.raises(UserError, match="Only one of them has: dog, emu"):
        FolderSource(folder).prepare()


def test_class_without_pictures_is_named(folder) -> None:
    (folder / "test" / "cat" / "x.png").unlink()
    with pytest.raises(UserError, match="No pictures in test/cat of"):
        FolderSource(folder).prepare()


def test_unreadable_pictures_are_named(folder) -> None:
    for number in range(7):
        (folder / "train" / "ant" / f"broken{number}.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as failure:
        FolderSource(folder).prepare()
    message = str(failure.value)
    assert message.startswith("7 of the pictures in")
    assert [f"ant/broken{number}.png" in message for number in range(7)] == [True] * 5 + [False] * 2
    assert "… and 2 more" in message
    assert not (folder / FOLDER / "pictures.npz").exists()

"""A folder of pictures: its layout is checked, its pictures are cached, its changes are noticed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.sources.cache import cache_folders
from lit_cifar.data.sources.folder import FolderSource
from lit_cifar.utils.errors import UserError

posix = pytest.mark.skipif(os.name == "nt", reason="needs links, FIFOs and permissions as POSIX has them")
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


def test_other_files_are_left_alone(folder) -> None:
    (folder / "train" / "notes.txt").touch()
    (folder / "train" / ".git").mkdir()
    (folder / "train" / "cat" / "Thumbs.db").touch()
    source = FolderSource(folder)
    assert source.class_names == ("ant", "cat")
    assert len(source.train()) == 5
    assert source.val() is None


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_a_validation_part_is_used(folder, name) -> None:
    for label, brightness_ in (("ant", 70), ("cat", 80)):
        draw(folder / name / label / "1.png", brightness_)
    source = FolderSource(folder)
    assert brightness(source.val().images) == [70, 80]
    assert source.val().labels.tolist() == [0, 1]

    def sizes(**options: float) -> tuple[int, int]:
        data = CIFAR10DataModule(source="folder", data_dir=str(folder), **options)
        data.prepare_data()
        data.setup("fit")
        return len(data.train_images), len(data.val_images)

    assert sizes() == (5, 2)
    assert sizes(val_size=1) == (4, 1), "images are held out if that is asked for"


def test_a_validation_part_of_other_classes_is_named(folder) -> None:
    draw(folder / "val" / "dog" / "1.png", 99)
    with pytest.raises(UserError, match="must be the same. Only one of them has: ant, cat, dog"):
        FolderSource(folder).prepare()


def test_two_validation_parts_are_one_too_many(folder) -> None:
    for name in ("val", "valid"):
        draw(folder / name / "cat" / "1.png", 99)
    with pytest.raises(UserError, match="two folders for one part, val and valid"):
        FolderSource(folder).prepare()


def test_class_folders_alone_are_divided(folder) -> None:
    for index in range(10):
        draw(folder / "only" / "ant" / f"{index}.png", index)
        draw(folder / "only" / "cat" / f"{index}.png", 100 + index)
    source, again = FolderSource(folder / "only"), FolderSource(folder / "only")
    assert source.name.endswith("only, a fifth held out as test images")
    assert source.class_names == ("ant", "cat")
    assert source.test().labels.tolist() == [0, 0, 1, 1]
    assert sorted(brightness(source.train().images) + brightness(source.test().images)) == [
        *range(10),
        *range(100, 110),
    ]
    assert brightness(source.test().images) == brightness(again.test().images)


def test_a_class_of_one_picture_can_not_be_divided(folder) -> None:
    draw(folder / "only" / "ant" / "1.png", 0)
    draw(folder / "only" / "cat" / "1.png", 0)
    with pytest.raises(UserError, match="The class ant has a single picture"):
        FolderSource(folder / "only").prepare()


@posix
def test_linked_folders_are_followed_once(folder, tmp_path) -> None:
    for index in range(3):
        draw(tmp_path / "elsewhere" / f"{index}.png", 90)
    (folder / "train" / "ant" / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "train" / "ant" / "round").symlink_to(folder / "train")
    (folder / "test" / "dog").symlink_to(tmp_path / "elsewhere")
    (folder / "train" / "dog").symlink_to(tmp_path / "elsewhere")
    source = FolderSource(folder)
    assert source.class_names == ("ant", "cat", "dog")
    counts = torch.bincount(source.train().labels).tolist()
    assert counts == [2 + 3 + 3 + 3, 3, 3], "the link to the folder around it gives cat and dog once more"


@posix
def test_a_fifo_among_the_pictures_is_named(folder) -> None:
    os.mkfifo(folder / "train" / "ant" / "pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png: it is not a regular file"):
        FolderSource(folder).prepare()


@posix
def test_a_class_that_is_no_unicode_is_refused(folder) -> None:
    (folder / "train" / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(UserError, match=r"'caf\\udce9' in .*train can't be written as text: rename") as failure:
        FolderSource(folder).prepare()
    str(failure.value).encode()


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch) -> None:
    closed = folder / "train" / "cat" / "deep"

    def scandir(path: str | Path) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    original = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"The folder .*train/cat/deep can't be read: no permission"):
        FolderSource(folder).prepare()


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


def test_unreadable_pictures_are_named(folder, cache) -> None:
    for number in range(7):
        (folder / "train" / "ant" / f"broken{number}.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as failure:
        FolderSource(folder).prepare()
    message = str(failure.value)
    assert message.startswith("7 of the pictures in")
    assert [f"ant/broken{number}.png" in message for number in range(7)] == [True] * 5 + [False] * 2
    assert "… and 2 more" in message
    assert not list(cache.glob("*.npz"))

"""A folder of pictures: layouts, classes and errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.sources.folder import FolderSource
from lit_cifar.utils.errors import UserError
from tests.data.sources.drawn import brightness, draw, posix


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


def test_a_single_class_is_said(tmp_path) -> None:
    draw(tmp_path / "ant" / "1.png", 99)
    with pytest.raises(UserError, match="holds a single class, ant: two or more are needed"):
        FolderSource(tmp_path).prepare()


def test_class_folders_alone_are_divided(folder, capsys) -> None:
    for index in range(10):
        draw(folder / "only" / "ant" / f"{index}.png", index)
        draw(folder / "only" / "cat" / f"{index}.png", 100 + index)
    source, again = FolderSource(folder / "only"), FolderSource(folder / "only")
    assert source.name.endswith("only, a fifth held out as test images")
    assert source.class_names == ("ant", "cat")
    source.prepare()
    said = capsys.readouterr().err
    assert "Reading 16 pictures in" in said
    assert f"Reading 4 pictures in {folder / 'only'}, held out as test images\n" in said
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

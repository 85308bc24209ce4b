"""A folder of pictures, sorted into classes, and into training, validation and test parts or not."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch

from lit_cifar.data.sources.base import IMAGE_SHAPE, ImageSet
from lit_cifar.data.sources.cache import CachedSource, Split
from lit_cifar.data.sources.image_files import EXTENSIONS, PictureFile, decode_all, list_pictures
from lit_cifar.utils.errors import UserError

DECODER = "2"
"""Changed whenever pictures are decoded or divided differently: caches made before are then made again."""

PARTS: Mapping[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Names of the folders of the parts, in lower case."""

Files = dict[Split, list[list[PictureFile]]]
"""The pictures of each part, class by class; paths are relative to the whole folder."""


class FolderSource(CachedSource):
    """Pictures sorted into classes, of any size, as square RGB images.

    A folder has one of these layouts:

    - `train/<class>/` and `test/<class>/`;
    - these and `val/<class>/` (or `valid`, `validation`), which is then the validation set;
    - just `<class>/`: a fifth of each class, drawn by a fixed seed, becomes the test set, and `name` says so.

    Classes are sorted by name, pictures by class and path. A changed folder is noticed by the names, sizes and times of
    change of its files. Linked folders are followed.

    Args:
        data_dir: The folder.
        image_size: Width and height that the pictures are scaled to.

    Raises:
        UserError: By everything but the constructor, if the folder has none of these layouts, if its parts differ in
            classes, or if a class has no pictures or one that can't be read.
    """

    stem = "pictures"

    def __init__(self, data_dir: Path, *, image_size: int = IMAGE_SHAPE[1]) -> None:
        super().__init__(data_dir)
        self.image_size = image_size

    @property
    def name(self) -> str:
        divided = ", a fifth held out as test images" if self._is_undivided else ""
        return f"pictures in {self.data_dir.as_posix()}{divided}{self._scaled}"

    @property
    def _scaled(self) -> str:
        """How names tell an unusual size; empty for the usual one, whose caches and studies stay valid."""
        size = self.image_size
        return "" if size == IMAGE_SHAPE[1] else f", {size}×{size} pixels"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return IMAGE_SHAPE[0], self.image_size, self.image_size

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        if self._is_undivided:
            return _folders(self.data_dir)
        classes = {split: _folders(self.data_dir / part) for split, part in self._parts.items()}
        if not classes.get("train") or not classes.get("test"):
            raise UserError(_wrong_layout(self.data_dir))
        for split, found in classes.items():
            if found != classes["train"]:
                raise UserError(
                    f"The classes in {self.data_dir / self._parts['train']} and {self.data_dir / self._parts[split]} "
                    f"must be the same. Only one of them has: {', '.join(sorted(set(classes['train']) ^ set(found)))}."
                )
        return classes["train"]

    def fingerprint(self) -> str:
        return hashlib.sha256(repr((DECODER + self._scaled, self.class_names, self._files)).encode()).hexdigest()

    def cache_key(self) -> str:
        return super().cache_key() + self._scaled

    def decode(self) -> dict[Split, ImageSet]:
        return {split: self._decode(split) for split in self._files}

    def val(self) -> ImageSet | None:
        return self._load("val") if "val" in self._parts else None

    @cached_property
    def _parts(self) -> dict[Split, str]:
        """The folder of each part."""
        found: dict[Split, str] = {}
        for name in _folders(self.data_dir):
            split = PARTS.get(name.lower())
            if split in found:
                raise UserError(f"{self.data_dir} has two folders for one part, {found[split]} and {name}: remove one.")
            if split is not None:
                found[split] = name
        return found

    @property
    def _is_undivided(self) -> bool:
        """Whether there are only class folders, two or more."""
        return not self._parts and len(_folders(self.data_dir)) > 1

    @cached_property
    def _files(self) -> Files:
        if self._is_undivided:
            return _divided({name: self._pictures(name) for name in self.class_names})
        return {
            split: [self._pictures(f"{part}/{name}") for name in self.class_names]
            for split, part in self._parts.items()
        }

    def _pictures(self, folder: str) -> list[PictureFile]:
        try:
            found = list_pictures(self.data_dir / folder)
        except PermissionError as error:
            raise _closed(error) from error
        if not found:
            raise UserError(
                f"No pictures in {folder} of {self.data_dir}: add some, or delete the folder. Pictures are files with "
                f"the suffix {', '.join(EXTENSIONS)}."
            )
        return [file._replace(path=f"{folder}/{file.path}") for file in found]

    def _decode(self, split: Split) -> ImageSet:
        files = self._files[split]
        paths = [self.data_dir / file.path for of_class in files for file in of_class]
        held_out = ", held out as test images" if self._is_undivided and split == "test" else ""
        description = f"Reading {len(paths)} pictures in {self._part(split)}{held_out}"
        images, problems = decode_all(paths, description, self.image_size)
        if problems:
            raise UserError(_unreadable(self._part(split), {str(paths[index]): problems[index] for index in problems}))
        counts = torch.tensor([len(of_class) for of_class in files])
        return ImageSet(torch.from_numpy(images), torch.arange(len(counts)).repeat_interleave(counts))

    def _part(self, split: Split) -> Path:
        return self.data_dir / self._parts.get(split, "")


def _divided(files: Mapping[str, list[PictureFile]]) -> Files:
    """A fifth of each class, at least one picture, as the test set; always the same for the same files."""
    train, test = [], []
    for name, found in files.items():
        if len(found) < 2:
            raise UserError(f"The class {name} has a single picture: one is needed for training and one for the test.")
        chosen = set(random.Random(0).sample(range(len(found)), max(1, len(found) // 5)))  # noqa: S311
        train.append([file for index, file in enumerate(found) if index not in chosen])
        test.append([file for index, file in enumerate(found) if index in chosen])
    return {"train": train, "test": test}


def _folders(folder: Path) -> tuple[str, ...]:
    """The names of the folders in a folder, sorted; hidden ones are skipped."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except PermissionError as error:
        raise _closed(error) from error
    for name in names:
        if any("\ud800" <= character <= "\udfff" for character in name):  # bytes that are not UTF-8
            raise UserError(f"The name of the folder {name!r} in {folder} can't be written as text: rename the folder.")
    return tuple(names)


def _closed(error: PermissionError) -> UserError:
    return UserError(f"The folder {error.filename} can't be read: no permission. Change its permissions.")


def _wrong_layout(folder: Path) -> str:
    found = ", ".join(sorted(path.name for path in folder.glob("[!.]*"))[:10]) if folder.is_dir() else ""
    folders = _folders(folder)
    if len(folders) == 1 and folders[0].lower() not in PARTS:
        return f"{folder} holds a single class, {folders[0]}: two or more are needed."
    state = f"It holds: {found or 'nothing'}." if folder.is_dir() else "There is no such folder."
    return f"""{folder} is not a folder of pictures sorted into classes. {state} Looked for:
  {folder / "train" / "<class>" / "<any name>.jpg"}
  {folder / "test" / "<class>" / "<any name>.jpg"}
or, to have a fifth of them held out as test images, for two or more of:
  {folder / "<class>" / "<any name>.jpg"}
Sort the pictures like this, or name another folder: data_dir=…"""


def _unreadable(folder: Path, problems: dict[str, str]) -> str:
    first = "\n".join(f"  {path}: {reason}" for path, reason in list(problems.items())[:5])
    more = f"\n  … and {len(problems) - 5} more" if len(problems) > 5 else ""
    return f"{len(problems)} of the pictures in {folder} can't be read. Repair or delete them:\n{first}{more}"

"""A folder of pictures, sorted into a training and a test part and into classes."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path

import torch

from lit_cifar.data.sources.base import ImageSet
from lit_cifar.data.sources.cache import CachedSource, Split
from lit_cifar.data.sources.image_files import PictureFile, decode_all, list_pictures
from lit_cifar.utils.errors import UserError

DECODER = "1"
"""Changed whenever pictures are decoded differently: caches made before are then made again."""

SPLITS: tuple[Split, ...] = ("train", "test")


class FolderSource(CachedSource):
    """The pictures in `train/<class>/` and `test/<class>/` of a folder, of any size, as 32×32 RGB images.

    Classes are sorted by name, pictures by class and path. A `valid/` folder (CINIC-10 has one) is left alone: here
    the validation set is always a part of the training set. A changed folder is noticed by the names, sizes and times
    of change of its files.

    Args:
        data_dir: The folder.

    Raises:
        UserError: by everything but the constructor and `name`, if the folder doesn't have this layout, if its two
            parts differ in classes, or if a class has no pictures or one that can't be read.
    """

    stem = "pictures"

    @property
    def name(self) -> str:
        return f"pictures in {self.data_dir.as_posix()}"

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        train, test = (_class_folders(self.data_dir / split) for split in SPLITS)
        if not train or not test:
            raise UserError(_wrong_layout(self.data_dir))
        if train != test:
            raise UserError(
                f"The classes in {self.data_dir / 'train'} and {self.data_dir / 'test'} must be the same. "
                f"Only one of them has: {', '.join(sorted(set(train) ^ set(test)))}."
            )
        return train

    def fingerprint(self) -> str:
        return hashlib.sha256(repr((DECODER, self.class_names, self._files)).encode()).hexdigest()

    def decode(self) -> dict[Split, ImageSet]:
        return {split: self._decode(split) for split in SPLITS}

    @cached_property
    def _files(self) -> dict[Split, list[list[PictureFile]]]:
        """The pictures of each split, class by class."""
        files = {split: [list_pictures(self.data_dir / split / name) for name in self.class_names] for split in SPLITS}
        empty = [
            f"{split}/{name}"
            for split in SPLITS
            for name, found in zip(self.class_names, files[split], strict=True)
            if not found
        ]
        if empty:
            raise UserError(f"No pictures in {', '.join(empty)} of {self.data_dir}: add some, or delete the folder.")
        return files

    def _decode(self, split: Split) -> ImageSet:
        classes = zip(self.class_names, self._files[split], strict=True)
        paths = [self.data_dir / split / name / file.path for name, files in classes for file in files]
        images, problems = decode_all(paths, f"Reading {len(paths)} pictures in {self.data_dir / split}")
        if problems:
            raise UserError(
                _unreadable(self.data_dir / split, {str(paths[index]): problems[index] for index in problems})
            )
        counts = torch.tensor([len(files) for files in self._files[split]])
        return ImageSet(torch.from_numpy(images), torch.arange(len(counts)).repeat_interleave(counts))


def _class_folders(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        return ()
    with os.scandir(folder) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")))


def _wrong_layout(folder: Path) -> str:
    found = ", ".join(sorted(path.name for path in folder.glob("[!.]*"))[:10]) if folder.is_dir() else ""
    state = f"It holds: {found or 'nothing'}." if folder.is_dir() else "There is no such folder."
    return f"""{folder} is not a folder of pictures sorted into classes. {state} Looked for:
  {folder / "train" / "<class>" / "<any name>.jpg"}
  {folder / "test" / "<class>" / "<any name>.jpg"}
Sort the pictures like this, or name another folder with --data.data_dir."""


def _unreadable(folder: Path, problems: dict[str, str]) -> str:
    first = "\n".join(f"  {path}: {reason}" for path, reason in list(problems.items())[:5])
    more = f"\n  … and {len(problems) - 5} more" if len(problems) > 5 else ""
    return f"{len(problems)} of the pictures in {folder} can't be read. Mend or delete them:\n{first}{more}"

"""Some classes of a data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.utils.errors import UserError


def opened(folder: Path, classes: list[str] | None = None, **options: int) -> CIFAR10DataModule:
    data = CIFAR10DataModule(source="folder", data_dir=str(folder), classes=classes, **options)  # type: ignore[arg-type]
    for stage in ("fit", "test"):
        data.setup(stage)
    return data


def test_only_the_images_of_the_chosen_classes_are_left_with_new_labels(pictures: Path) -> None:
    whole, some = opened(pictures), opened(pictures, ["frog", "cat"])
    assert some.class_names == ("cat", "frog")
    test, chosen = whole.test_images, some.test_images
    assert torch.equal(chosen.images, test.images[test.labels != 1])  # without dogs
    assert torch.equal(chosen.labels, test.labels[test.labels != 1] // 2)
    assert (len(some.train_images), len(some.val_images)) == (72, 8)
    assert some.data_source.endswith(", only cat, frog")


def test_validation_images_of_the_source_are_chosen_too(pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "pictures")
    shutil.copytree(pictures / "test", tmp_path / "pictures/val")
    data = opened(tmp_path / "pictures", ["dog", "frog"])
    assert len(data.val_images) == 2 * 8
    assert len(data.train_images) == 2 * 40


@pytest.mark.parametrize(
    ("classes", "problem"),
    [(["cat", "cow"], "there is no class cow"), (["cat"], "give at least two"), (["cat", "cat"], "give at least two")],
)
def test_classes_that_can_not_be_told_apart_are_one_line(classes: list[str], problem: str, pictures: Path) -> None:
    with pytest.raises(UserError, match=rf"{problem}.* The data has cat, dog, frog\."):
        opened(pictures, classes)

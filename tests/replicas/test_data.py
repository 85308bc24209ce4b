"""The images that each replica of a stack sees."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from lit_cifar.data.augmentation import crop, flip
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.normalization import Scale
from lit_cifar.replicas.data import Augmentation, StackedDataModule
from variants import Scaling

AUGMENTED = {"flip": True, "crop_padding": 2}


def seen(seeds: list[int], epoch: int, split: str = "train", **options: Any) -> tuple[Tensor, Tensor]:
    """What each replica sees in an epoch: images [R, N, 3, 32, 32] and labels [R, N]."""
    data = StackedDataModule(seeds=seeds, **options)
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader() if split == "train" else data.val_dataloader()
    loader.set_epoch(epoch)
    images, labels = zip(*loader, strict=True)
    return torch.cat(images, 1), torch.cat(labels, 1)


def test_augmented_images_follow_from_the_seed_and_the_epoch_in_every_stack(data_options: dict[str, Any]) -> None:
    options = {**data_options, **AUGMENTED}
    alone, labels = seen([7], 2, **options)
    stacked, stacked_labels = seen([3, 7, 5], 2, **options)
    assert torch.equal(alone[0], stacked[1])
    assert torch.equal(labels[0], stacked_labels[1])
    assert not torch.equal(alone, seen([7], 3, **options)[0])


def test_each_image_is_flipped_and_cropped_by_itself(data_options: dict[str, Any]) -> None:
    plain, labels = seen([7], 2, **data_options)
    found, found_labels = seen([7], 2, **data_options, **AUGMENTED)
    drawn = Augmentation.draw([7], 2, plain.shape[1], flip=True, padding=2)
    assert drawn.flips is not None
    assert drawn.corners is not None
    tops, lefts = drawn.corners[:, 0]
    assert torch.equal(found[0], crop(flip(plain[0], drawn.flips[0]), tops, lefts, 2))
    assert torch.equal(found_labels, labels)
    assert 0.3 < drawn.flips.float().mean() < 0.7
    assert set(tops.tolist()) == set(lefts.tolist()) == set(range(5))


def test_batches_stay_uint8_until_the_network_scales_them(data_options: dict[str, Any]) -> None:
    for options in (data_options, {**data_options, **AUGMENTED}):
        assert seen([0, 1], 0, **options)[0].dtype == torch.uint8


@pytest.mark.parametrize("train_size", [None, 9])
def test_each_replica_is_scaled_as_a_single_run_is(data_options: dict[str, Any], train_size: int | None) -> None:
    options = {**data_options, "train_size": train_size}
    stacked = StackedDataModule(seeds=[0, 1], **options)
    stacked.prepare_data()
    stacked.setup("fit")
    for seed in (0, 1):
        single = CIFAR10DataModule(**options, seed=seed)
        single.prepare_data()
        single.setup("fit")
        for scaling in get_args(Scaling):
            found, expected = stacked.scale(scaling, seed), Scale.fit(scaling, single.train_images)
            assert torch.equal(found.mean, expected.mean)
            assert torch.equal(found.std, expected.std)


def test_validation_images_are_not_augmented(data_options: dict[str, Any]) -> None:
    assert torch.equal(seen([7], 2, "val", **data_options, **AUGMENTED)[0], seen([7], 0, "val", **data_options)[0])


def test_a_source_with_its_own_validation_images(pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "own")
    shutil.copytree(pictures / "test", tmp_path / "own/val")
    options: dict[str, Any] = {"source": "folder", "data_dir": str(tmp_path / "own"), "batch_size": 16}
    images, labels = seen([0, 1], 0, "val", **options)
    single = CIFAR10DataModule(**options)
    single.prepare_data()
    single.setup("fit")
    expected, expected_labels = (torch.cat(parts) for parts in zip(*single.val_dataloader(), strict=True))
    for replica in range(2):
        assert torch.equal(images[replica], expected)
        assert torch.equal(labels[replica], expected_labels)
    assert seen([0, 1], 0, **options)[0].shape[:2] == (2, 120)

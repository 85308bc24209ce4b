"""Splits, batches, augmentation and scaling."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule, Trainer

from lit_cifar.data.augmentation import random_crop, random_cutout, random_flip, random_mixup
from lit_cifar.data.batches import Batch, BatchLoader, BatchSampler, InMemoryImages
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.normalization import PixelSums, Scale
from lit_cifar.data.sources import ImageSet
from lit_cifar.data.splits import DEFAULT_SHARE, reduced_indices, split_indices
from lit_cifar.utils.errors import UserError


def numbered(count: int, classes: int = 3) -> ImageSet:
    """Images that carry their own number in their first two pixels."""
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = torch.arange(count) % 256, torch.arange(count) // 256
    return ImageSet(images, torch.arange(count) % classes)


def split(image_set: ImageSet, size: float, seed: int, num_classes: int) -> list[ImageSet]:
    found = split_indices(image_set.labels, size, seed, num_classes)
    return [ImageSet(image_set.images[indices], image_set.labels[indices]) for indices in found]


def numbers(images: torch.Tensor) -> list[int]:
    return (images[:, 0, 0, 0].int() + 256 * images[:, 0, 0, 1].int()).tolist()


def test_split_is_stratified_seeded_and_complete() -> None:
    train, val = split(numbered(600), 90, seed=1, num_classes=3)
    assert torch.bincount(val.labels).tolist() == [30, 30, 30]
    assert sorted(numbers(train.images) + numbers(val.images)) == list(range(600))
    again, other = split(numbered(600), 90, 1, 3)[1], split(numbered(600), 90, 2, 3)[1]
    assert numbers(again.images) == numbers(val.images) != numbers(other.images)


def test_split_shares_what_does_not_divide() -> None:
    _, val = split(numbered(602), 100, seed=0, num_classes=3)
    assert len(val) == 100
    assert set(torch.bincount(val.labels).tolist()) == {33, 34}


def test_split_leaves_every_class_some_training_images() -> None:
    with pytest.raises(UserError, match="val_size=598 is too large"):
        split(numbered(600), 598, 0, 3)


def test_a_share_is_held_out_by_default() -> None:
    data = CIFAR10DataModule(source="synthetic")
    assert data.val_size is None
    assert len(split(numbered(600), DEFAULT_SHARE, 0, 3)[1]) == 60
    assert len(split(numbered(600), 0.25, 0, 3)[1]) == 150
    assert torch.bincount(split(numbered(12), 0.1, 0, 3)[1].labels).tolist() == [1, 1, 1], "each class at least one"


def test_a_smaller_training_set_is_part_of_a_larger_one() -> None:
    labels = numbered(600).labels
    small, large, other = (reduced_indices(labels, size, seed, 3) for size, seed in ((30, 0), (90, 0), (30, 1)))
    assert torch.bincount(labels[small]).tolist() == [10, 10, 10]
    assert set(small.tolist()) < set(large.tolist())
    assert small.tolist() != other.tolist()


def test_the_training_set_s_size_does_not_change_the_validation_set(pictures: Path) -> None:
    def prepared(**options: int) -> CIFAR10DataModule:
        data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, **options)
        data.prepare_data()
        data.setup("fit")
        return data

    every, some = prepared(), prepared(train_size=12)
    assert (len(every.train_images), len(some.train_images)) == (90, 12)
    assert torch.equal(every.val_images, some.val_images)
    with pytest.raises(UserError, match=r"train_size=91 can't be used: there are 90 training images of 3.*Use 3 to 90"):
        prepared(train_size=91)


@pytest.mark.parametrize("num_replicas", [1, 2, 3])
def test_training_order_follows_seed_and_epoch_and_covers_everything(num_replicas: int) -> None:
    images = InMemoryImages(numbered(100))

    def epoch(number: int, seed: int = 0) -> list[int]:
        seen: list[int] = []
        for rank in range(num_replicas):
            sampler = BatchSampler(
                len(images), batch_size=16, shuffle=True, seed=seed, num_replicas=num_replicas, rank=rank
            )
            sampler.set_epoch(number)
            loader = BatchLoader(images, sampler)
            batches = [numbers(batch) for batch, _ in loader]
            assert len(batches) == len(loader)
            seen += [n for batch in batches for n in batch]
        return seen

    assert set(epoch(0)) == set(range(100))
    assert len(epoch(0)) == -(-100 // num_replicas) * num_replicas
    assert epoch(0) == epoch(0) != epoch(1)
    assert epoch(0) != epoch(0, seed=1)


@pytest.mark.parametrize("num_replicas", [1, 2, 3])
def test_evaluation_sees_every_image_exactly_once(num_replicas: int) -> None:
    images = InMemoryImages(numbered(100))
    samplers = [BatchSampler(100, batch_size=16, num_replicas=num_replicas, rank=r) for r in range(num_replicas)]
    loaders = [BatchLoader(images, sampler) for sampler in samplers]
    seen = [number for loader in loaders for batch, _ in loader for number in numbers(batch)]
    assert sorted(seen) == list(range(100))


def test_images_and_labels_stay_together(pictures: Path) -> None:
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)
    data.prepare_data()
    data.setup("fit")
    for images, labels in data.train_dataloader():
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert torch.equal(images.float().mean((2, 3)).argmax(1), labels)  # the class is the brightest channel


def test_flip_mirrors_some_images_whole() -> None:
    torch.manual_seed(0)
    images = torch.randint(256, (200, 3, 32, 32), dtype=torch.uint8)
    flipped = random_flip(images)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert (mirrored | same).all()
    assert 60 < mirrored.sum() < 140


def test_cutout_paints_one_square_in_the_mean_colour() -> None:
    torch.manual_seed(0)
    images = torch.randint(256, (200, 3, 32, 32), dtype=torch.uint8)
    cut = random_cutout(images, 8)
    for image, found in zip(images, cut, strict=True):
        painted = (found != image).any(0)
        rows, columns = painted.any(1).nonzero().flatten(), painted.any(0).nonzero().flatten()
        square = found[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (square == image.float().mean((1, 2)).to(torch.uint8)[:, None, None]).all()
        assert max(square.shape[1:]) <= 8
    sizes = (cut != images).any(1).flatten(1).sum(1)
    assert 4 * 4 - 2 <= sizes.min() < 50  # a corner
    assert sizes.max() >= 60  # a whole square; a pixel may have had the colour before
    torch.manual_seed(0)
    assert torch.equal(random_cutout(torch.randint(256, (200, 3, 32, 32), dtype=torch.uint8), 8), cut)


def test_mixup_blends_images_and_labels_alike() -> None:
    torch.manual_seed(0)
    labels = torch.arange(300) % 3
    images = (labels * 100).to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    mixed, probabilities = random_mixup(images, labels, 0.5, 3)
    assert mixed.dtype == torch.uint8
    torch.testing.assert_close(probabilities.sum(1), torch.ones(300))
    expected = probabilities @ torch.tensor([0.0, 100.0, 200.0])
    torch.testing.assert_close(mixed[:, 0, 0, 0].float(), expected, atol=0.51, rtol=0)
    assert (probabilities.amax(1) < 0.9).float().mean() > 0.2
    torch.testing.assert_close(probabilities.mean(0), torch.full((3,), 1 / 3), atol=0.05, rtol=0)


@pytest.mark.parametrize(("option", "value"), [("cutout", -1), ("mixup", -0.1), ("mixup", float("nan"))])
def test_an_augmentation_out_of_range_is_refused(option: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{option}={value}"):
        CIFAR10DataModule(source="synthetic", **{option: value})  # type: ignore[arg-type]


def test_crop_shifts_images_whole() -> None:
    torch.manual_seed(0)
    images = torch.randint(1, 256, (50, 3, 32, 32), dtype=torch.uint8)
    cropped = random_crop(images, 2)
    shifts = set()
    for image, crop in zip(images, cropped, strict=True):
        padded = torch.nn.functional.pad(image, [2] * 4)
        found = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if torch.equal(padded[:, top : top + 32, left : left + 32], crop)
        ]
        assert len(found) == 1
        shifts |= set(found)
    assert len(shifts) > 10


def test_standardize_uses_the_training_split_only() -> None:
    torch.manual_seed(0)
    images = torch.randint(256, (500, 3, 32, 32), dtype=torch.uint8)
    mean, std = PixelSums.of(images).statistics()
    torch.testing.assert_close(mean, images.float().mean(0))
    torch.testing.assert_close(std, images.float().std(0, unbiased=False), rtol=1e-5, atol=1e-4)
    scaled = Scale.fit("standardize", images)(images)
    assert scaled.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(scaled.std(0, unbiased=False), torch.ones(3, 32, 32), rtol=1e-3, atol=1e-3)


def test_the_sums_behind_the_scaling_are_exact() -> None:
    images = torch.full((600, 3, 32, 32), 255, dtype=torch.uint8)  # the largest squares there are
    images[:, 0] = 253
    mean, std = PixelSums.of(images).statistics()
    assert mean.unique().tolist() == [253, 255]
    assert std.unique().tolist() == [0]


def test_unit_scaling_divides_by_255() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    torch.testing.assert_close(Scale.fit("unit", images)(images).flatten(), torch.tensor([0.0, 0.2, 1.0]))


def test_a_constant_pixel_stays_finite() -> None:
    images = torch.full((10, 3, 2, 2), 7, dtype=torch.uint8)
    assert not Scale.fit("standardize", images)(images).any()


def test_batches_are_cut_where_the_images_are() -> None:
    image_set = ImageSet(torch.zeros(5, 3, 32, 32, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))
    images, labels = InMemoryImages(image_set).to("meta")[torch.tensor([3, 1])]
    assert (images.device.type, labels.device.type) == ("meta", "meta")
    assert images.shape == (2, 3, 32, 32)


class Linear(LightningModule):
    """A model of somebody else's, which remembers the images that it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3072, 3)
        self.seen: list[float] = []

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        images, labels = batch
        self.seen += images.double().std((1, 2, 3)).tolist()
        return torch.nn.functional.cross_entropy(self.layer(images.flatten(1) / 255), labels)

    def validation_step(self, batch: Batch, _: int) -> None:
        assert len(batch[0]) == 30

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.parametrize("options", [{}, {"overfit_batches": 2}], ids=["all", "overfit"])
def test_any_trainer_takes_the_data_without_advice_on_any_number_of_cpus(
    options: dict[str, int], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning recommends worker processes for every DataLoader; here they would only slow things down."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)
    model = Linear()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, **quiet, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You requested to overfit")
        trainer.fit(model, datamodule=data)
    trainer.validate(model, datamodule=data, verbose=False)
    half = len(model.seen) // 2
    assert half == (32 if options else 90)
    assert (model.seen[:half] == model.seen[half:]) is bool(options), "overfitting repeats the same batches"


def test_fewer_images_than_processes_are_said(pictures: Path) -> None:
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=1)
    data.setup("fit")
    strategy = SimpleNamespace(root_device="cpu")
    data.trainer = SimpleNamespace(world_size=2, global_rank=0, strategy=strategy, overfit_batches=0)  # type: ignore[assignment]
    assert len(data.train_dataloader()) > 0
    with pytest.raises(UserError, match=r"1 val image can't be shared by 2 processes: use devices=1\."):
        data.val_dataloader()

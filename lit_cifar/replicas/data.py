"""The data of a stack: the images are in memory once; each replica has its own split and order."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from lit_cifar.data.augmentation import crop, flip
from lit_cifar.data.batches import Batch, BatchSampler, InMemoryImages
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.normalization import PixelSums, Scale
from lit_cifar.data.sources import ImageSet, checked
from lit_cifar.replicas.network import NotStackableError
from variants import Scaling

EVALUATION_BATCH = 500
"""The smallest validation batch, as in CIFAR10DataModule, so that sums of losses are rounded the same way."""


class StackedDataModule(CIFAR10DataModule):
    """The data of R replicas: batches are uint8 images [R, B, C, H, W] with labels [R, B].

    Each replica has the split, the order and the batch sizes of a single run with its seed. Random flips and crops are
    drawn from the replica's seed and the epoch: another stream than a single run's, but the same in every stack.

    Args:
        seeds: Each replica's seed.
        **options: The other arguments of CIFAR10DataModule.

    Raises:
        NotStackableError: For cutout and mixup.
    """

    def __init__(self, *, seeds: Sequence[int], **options: Any) -> None:
        super().__init__(**options, seed=seeds[0])
        if self.cutout or self.mixup:
            raise NotStackableError("cutout and mixup draw for one network's batches.")
        self.seeds = list(seeds)
        self._on_device: InMemoryImages | None = None
        self._sums_of_all: PixelSums | None = None
        self._first_validation: Tensor | None = None
        self._splits: dict[int, dict[str, Tensor]] = {}
        self._split_labels = torch.empty(0, dtype=torch.int64)

    def setup(self, stage: str) -> None:
        if stage != "fit":
            super().setup(stage)
        elif "train" not in self._sets:
            train = checked(self.source, self.source.train())
            own_validation = self.source.val() if self.val_size is None else None
            self._split_labels = train.labels
            self._sets |= {"train": InMemoryImages(_joined(train, own_validation))}
            for seed in self.seeds:
                self._splits[seed] = self._split(seed)

    def keep(self, replicas: Sequence[int]) -> None:
        """Remove all other replicas, from the next epoch on."""
        self.seeds = [self.seeds[replica] for replica in replicas]
        self._first_validation = None

    def indices(self, name: str, seed: int) -> Tensor:
        """The indices of the images of a split, `train` or `val`, among all images but the test images."""
        return self._splits[seed][name]

    def scale(self, scaling: Scaling, seed: int) -> Scale:
        """The scaling layer that a single run with this seed has."""
        if scaling == "unit":
            return Scale.empty(self.image_shape)
        return Scale.standardizing(self._sums(self.indices("train", seed)))

    def _sums(self, indices: Tensor) -> PixelSums:
        """The sums over some of the images; where these are most, only the others are added up."""
        images = self.train_images
        others = torch.ones(len(images), dtype=torch.bool).index_fill_(0, indices, value=False)
        if 2 * len(indices) < len(images):
            return PixelSums.of(images[indices])
        if self._sums_of_all is None:
            self._sums_of_all = PixelSums.of(images)
        return self._sums_of_all - PixelSums.of(images[others])

    def example_batch(self) -> Batch:
        images = self.train_images[: self.batch_size].expand(len(self.seeds), -1, -1, -1, -1)
        return images, torch.zeros(images.shape[:2], dtype=torch.int64)

    def first_validation_images(self, count: int) -> Tensor:
        """Each replica's first validation images, uint8 [R, count, C, H, W], on the Trainer's device."""
        images = self.images_on_device()
        if self._first_validation is None:
            indices = torch.stack([self.indices("val", seed) for seed in self.seeds])[:, :count]
            self._first_validation = indices.to(images.images.device)
        found, _ = images[self._first_validation.flatten()]
        return found.view(*self._first_validation.shape, *found.shape[1:])

    def train_dataloader(self) -> StackedLoader:  # type: ignore[override]
        return StackedLoader(self, "train", flip=self.flip, padding=self.crop_padding)

    def val_dataloader(self) -> StackedLoader:  # type: ignore[override]
        return StackedLoader(self, "val")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        return batch  # it has been augmented already

    def sampler(self, name: str, seed: int) -> BatchSampler:
        """The sampler of a single run with this seed."""
        training, count = name == "train", len(self.indices(name, seed))
        batch_size = self.batch_size if training else max(self.batch_size, EVALUATION_BATCH)
        return BatchSampler(count, batch_size=batch_size, shuffle=training, seed=seed)

    def _split(self, seed: int) -> dict[str, Tensor]:
        single = copy.copy(self)
        single.seed = seed
        train, val = single.split_indices(self._split_labels)
        if not len(val):  # the source has validation images of its own, which `_joined` has put last
            val = torch.arange(len(self._split_labels), len(self.train_images))
        return {"train": train, "val": val}

    def images_on_device(self) -> InMemoryImages:
        """All images but the test images, on the Trainer's device; they are copied there once."""
        if self._on_device is None:
            images = self._sets["train"]
            self._on_device = images.to(self.trainer.strategy.root_device) if self.trainer else images
        return self._on_device


class StackedLoader:
    """The batches of one epoch for every replica of a stack, for a Lightning Trainer.

    Args:
        data: The data of the stack.
        name: The split: `train` or `val`.
        flip: Whether to mirror images at random.
        padding: Pad images by this many pixels and crop them at random; 0 is off.
    """

    batch_sampler = None  # Lightning looks for it

    def __init__(self, data: StackedDataModule, name: str, *, flip: bool = False, padding: int = 0) -> None:
        self.data = data
        self.name = name
        self.flip = flip
        self.padding = padding
        self.samplers = {seed: data.sampler(name, seed) for seed in data.seeds}
        self.sampler = self  # Lightning calls its `set_epoch`
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose orders are drawn."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.samplers[self.data.seeds[0]])

    def __iter__(self) -> Iterator[Batch]:
        seeds, pool = self.data.seeds, self.data.images_on_device()
        device = pool.images.device
        orders = {seed: self._order(seed) for seed in dict.fromkeys(seeds)}
        order = torch.stack([orders[seed] for seed in seeds]).to(device)  # all indices of the epoch in one copy
        sizes = self.samplers[seeds[0]].sizes()
        augmentation = Augmentation.draw(seeds, self.epoch, order.shape[1], flip=self.flip, padding=self.padding)
        parts = augmentation.to(device).split(sizes)
        for indices, part in zip(order.split(sizes, 1), parts, strict=True):
            images, labels = pool[indices.flatten()]
            yield part.apply(images).view(*indices.shape, *images.shape[1:]), labels.view(indices.shape)

    def _order(self, seed: int) -> Tensor:
        """The indices of a replica's images, in the order of a single run."""
        sampler = self.samplers[seed]
        sampler.set_epoch(self.epoch)
        return self.data.indices(self.name, seed)[sampler.order()]


@dataclass(frozen=True)
class Augmentation:
    """Random flips and crops of each image of each replica. They depend only on the replica's seed and the epoch.

    Args:
        padding: Pixels on every side before a crop.
        flips: Which images are mirrored, bool [R, N].
        corners: The top and left edges of the crops, [2, R, N].
    """

    padding: int
    flips: Tensor | None
    corners: Tensor | None

    @classmethod
    def draw(cls, seeds: Sequence[int], epoch: int, count: int, *, flip: bool, padding: int) -> Augmentation:
        """Draw for `count` images of each replica."""
        generators = [torch.Generator().manual_seed(_digest(seed, epoch)) for seed in seeds]
        flips = torch.stack([torch.rand(count, generator=g) < 0.5 for g in generators]) if flip else None
        if not padding:
            return cls(padding, flips, None)
        corners = [torch.randint(2 * padding + 1, (2, count), generator=g) for g in generators]
        return cls(padding, flips, torch.stack(corners, 1))

    def to(self, device: torch.device) -> Augmentation:
        """The same on another device."""
        flips, corners = (t if t is None else t.to(device) for t in (self.flips, self.corners))
        return Augmentation(self.padding, flips, corners)

    def split(self, sizes: Sequence[int]) -> Iterator[Augmentation]:
        """The augmentation of each batch, for batches of these sizes."""
        for stop, size in zip(accumulate(sizes), sizes, strict=True):
            part = slice(stop - size, stop)
            flips = None if self.flips is None else self.flips[:, part]
            yield Augmentation(self.padding, flips, None if self.corners is None else self.corners[:, :, part])

    def apply(self, images: Tensor) -> Tensor:
        """The augmented images [R * B, C, H, W] of a batch."""
        if self.flips is not None:
            images = flip(images, self.flips.flatten())
        if self.corners is not None:
            tops, lefts = self.corners.flatten(1)
            images = crop(images, tops, lefts, self.padding)
        return images


def _joined(train: ImageSet, val: ImageSet | None) -> ImageSet:
    """Training images followed by validation images."""
    if val is None:
        return train
    return ImageSet(torch.cat([train.images, val.images]), torch.cat([train.labels, val.labels]))


def _digest(seed: int, epoch: int) -> int:
    digest = hashlib.blake2b(f"augmentation {seed} {epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1

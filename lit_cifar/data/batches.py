"""Batches cut from memory: whole slices of uint8 tensors, never one picture at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lit_cifar.data.sources import ImageSet

Batch = tuple[Tensor, Tensor]
"""Images, uint8 [B, 3, 32, 32], and labels, int64 [B]."""

IndexedBatch = tuple[Tensor, Tensor, Tensor]
"""A batch of a test: images, labels, and the images' indices in the test set, int64 [B]."""


class InMemoryImages(Dataset[Batch]):
    """Images and labels in a device's memory; an item is a batch there, asked for by a tensor of indices."""

    def __init__(self, image_set: ImageSet) -> None:
        self.images = image_set.images
        self.labels = image_set.labels

    def to(self, device: torch.device | str) -> InMemoryImages:
        """The same images and labels on another device."""
        return InMemoryImages(ImageSet(self.images.to(device), self.labels.to(device)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Tensor) -> Batch:
        indices = indices.to(self.images.device, non_blocking=True)  # a GPU's queue of work needn't be empty for it
        return self.images.index_select(0, indices), self.labels.index_select(0, indices)


class IndexedImages(InMemoryImages):
    """Images whose batches say which images they hold: images, labels, and their indices in the data set, int64 [B]."""

    def to(self, device: torch.device | str) -> IndexedImages:
        return IndexedImages(ImageSet(self.images.to(device), self.labels.to(device)))

    def __getitem__(self, indices: Tensor) -> IndexedBatch:  # type: ignore[override]
        return (*super().__getitem__(indices), indices)


class BatchSampler(DistributedSampler[Batch]):
    """Index tensors of one batch each; every process of a distributed run draws its own share.

    The order follows from the seed and the epoch alone. Shuffled (training) shares are padded to equal length by
    repeating images, as gradient averaging needs; ordered (evaluation) shares hold every image exactly once. A single
    image left over for training joins the batch before it: batch normalization can't learn from one.
    """

    def __init__(
        self, dataset: InMemoryImages, *, batch_size: int, shuffle: bool, seed: int, num_replicas: int, rank: int
    ) -> None:
        super().__init__(dataset, num_replicas, rank, shuffle, seed)
        self.batch_size = batch_size
        self.start = 0
        self.drawn = 0

    def _share(self) -> Tensor:
        count = len(self.dataset)  # type: ignore[arg-type]
        if not self.shuffle:
            return torch.arange(self.rank, count, self.num_replicas)
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(count, generator=generator)
        missing = -count % self.num_replicas
        return torch.cat([order, order[:missing]])[self.rank :: self.num_replicas]

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        # A generator, which does nothing before the first batch is asked for: Lightning sets a continued run's epoch
        # when it has already called iter().
        start, self.start = self.start, 0
        batches = list(self._share().split(self.batch_size))
        batches[len(self) - 1 :] = [torch.cat(batches[len(self) - 1 :])]
        for drawn, batch in enumerate(batches[start:], start + 1):
            self.drawn = drawn
            yield batch

    def __len__(self) -> int:
        count = len(self.dataset)  # type: ignore[arg-type]
        share = len(range(0 if self.shuffle else self.rank, count, self.num_replicas))
        one_is_left = self.shuffle and share > self.batch_size > 1 and share % self.batch_size == 1
        return -(-share // self.batch_size) - one_is_left


class BatchLoader(DataLoader[Batch]):
    """A DataLoader that Lightning can continue in the middle of an epoch, and that has no worker processes: a slice of
    memory is not worth handing over."""

    sampler: BatchSampler

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        return (self.dataset[indices] for indices in self.sampler)

    def state_dict(self) -> dict[str, int]:
        return {"drawn": self.sampler.drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampler.start = state["drawn"]


def batch_loader(
    dataset: InMemoryImages,
    *,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    num_replicas: int = 1,
    rank: int = 0,
) -> BatchLoader:
    """A DataLoader over whole batches."""
    sampler = BatchSampler(
        dataset, batch_size=batch_size, shuffle=shuffle, seed=seed, num_replicas=num_replicas, rank=rank
    )
    return BatchLoader(dataset, batch_size=None, sampler=sampler)

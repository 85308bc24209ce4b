"""Batches cut from memory: whole slices of uint8 tensors, never one image at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lit_cifar.data.sources import ImageSet

Batch = tuple[Tensor, Tensor]
"""Images, uint8 [B, C, H, W], and labels, int64 [B]."""

IndexedBatch = tuple[Tensor, Tensor, Tensor]
"""A batch of a test: images, labels, and the images' indices in the test set, int64 [B]."""


class InMemoryImages:
    """Images and labels on one device, indexed by tensors of indices.

    Args:
        image_set: The images and labels.
    """

    def __init__(self, image_set: ImageSet) -> None:
        self.images = image_set.images
        self.labels = image_set.labels

    def to(self, device: torch.device | str) -> InMemoryImages:
        """The same images and labels on another device."""
        return InMemoryImages(ImageSet(self.images.to(device), self.labels.to(device)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Tensor) -> Batch:
        indices = indices.to(self.images.device, non_blocking=True)  # doesn't wait for the GPU
        return self.images.index_select(0, indices), self.labels.index_select(0, indices)


class IndexedImages(InMemoryImages):
    """Images whose batches say which images they hold: images, labels, and their indices in the data set, int64 [B]."""

    def to(self, device: torch.device | str) -> IndexedImages:
        return IndexedImages(ImageSet(self.images.to(device), self.labels.to(device)))

    def __getitem__(self, indices: Tensor) -> IndexedBatch:  # type: ignore[override]
        return (*super().__getitem__(indices), indices)


class BatchSampler:
    """Index tensors of one batch each; every process of a distributed run draws its own share.

    The order follows from the seed and the epoch alone. Shuffled (training) shares are padded to equal length by
    repeating images, because averaging gradients needs equal lengths. Ordered (evaluation) shares hold every image
    exactly once. A single image left over for training joins the batch before it: batch normalization can't learn from
    one image.

    Args:
        count: Number of images.
        batch_size: Images in a batch.
        shuffle: Whether to draw in random order, for training.
        seed: Seed of the order.
        num_replicas: Number of processes.
        rank: Index of this process.
    """

    def __init__(
        self, count: int, *, batch_size: int, shuffle: bool = False, seed: int = 0, num_replicas: int = 1, rank: int = 0
    ) -> None:
        self.count = count
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.start = 0
        self.drawn = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn; Lightning calls this."""
        self.epoch = epoch

    def order(self) -> Tensor:
        """The indices of this process's images in this epoch, in order."""
        if not self.shuffle:
            return torch.arange(self.rank, self.count, self.num_replicas)
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.count, generator=generator)
        missing = -self.count % self.num_replicas
        return torch.cat([order, order[:missing]])[self.rank :: self.num_replicas]

    def __iter__(self) -> Iterator[Tensor]:
        # A generator does nothing before its first item is asked for. Lightning sets the epoch of a continued run
        # after it has called iter().
        start, self.start = self.start, 0
        order = self.order()
        batches = order.split(self.sizes())
        for drawn, batch in enumerate(batches[start:], start + 1):
            self.drawn = drawn
            yield batch

    def sizes(self) -> list[int]:
        """The number of images in each batch of an epoch."""
        share = self._share()
        full = [self.batch_size] * (len(self) - 1)
        return [*full, share - sum(full)] if share else []

    def _share(self) -> int:
        """The number of images that this process draws in an epoch."""
        return len(range(0 if self.shuffle else self.rank, self.count, self.num_replicas))

    def __len__(self) -> int:
        share = self._share()
        one_is_left = self.shuffle and share > self.batch_size > 1 and share % self.batch_size == 1
        return -(-share // self.batch_size) - one_is_left


class BatchLoader:
    """The batches of one epoch, for a Lightning Trainer; training can be continued in the middle of an epoch.

    This is a plain iterable, not a `torch.utils.data.DataLoader`: slicing memory is faster than any worker process
    could be. Lightning therefore neither replaces its sampler nor recommends workers.

    Args:
        images: The images and labels to slice.
        sampler: The indices of each batch.
    """

    def __init__(self, images: InMemoryImages, sampler: BatchSampler) -> None:
        self.images = images
        self.sampler = sampler
        self.batch_sampler = None  # as in a DataLoader whose sampler gives whole batches; Lightning looks for it

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        return (self.images[indices] for indices in self.sampler)

    def state_dict(self) -> dict[str, int]:
        """The position in the epoch; Lightning saves it in checkpoints."""
        return {"drawn": self.sampler.drawn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next epoch at a saved position."""
        self.sampler.start = state["drawn"]


def as_range(indices: Tensor) -> range:
    """The indices of a test's or prediction's batch, which are evenly spaced, as a range."""
    first, last = indices[0].item(), indices[-1].item()
    step = (last - first) // (len(indices) - 1) if len(indices) > 1 else 1
    return range(int(first), int(last) + 1, int(step))

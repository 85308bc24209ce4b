"""CIFAR10DataModule: images from any source, split, in memory, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor

from lit_cifar.data.augmentation import random_crop, random_cutout, random_flip, random_mixup
from lit_cifar.data.batches import Batch, BatchLoader, BatchSampler, IndexedImages, InMemoryImages
from lit_cifar.data.corruptions import Corruption, check, corrupt
from lit_cifar.data.options import check_image_size, check_options
from lit_cifar.data.sources import IMAGE_SHAPE, ChosenClasses, ImageSet, checked, open_source, read_pictures, settled
from lit_cifar.data.splits import DEFAULT_SHARE, reduced_indices, split_indices
from lit_cifar.utils.errors import UserError


class CIFAR10DataModule(LightningDataModule):
    """CIFAR-10 from the official files, a folder of pictures, the built-in synthetic set, or any other source.

    Batches are uint8 images [B, C, H, W] with int64 labels [B]; the network scales them itself.

    Args:
        source: Where images come from: the official `cifar10` files (downloaded when missing), their copy at
            `huggingface` (faster, needs pyarrow), a `folder` of pictures (train/<class>/*.png, test/<class>/*.png and
            maybe val/<class>/*.png, or just <class>/*.png), the built-in `synthetic` set, or `auto`: cifar10 or its
            copy if it is there or can be downloaded within five minutes, else synthetic. `lit-cifar sources` lists
            those of installed packages; a class path works too (`my_module.MySource`).
        source_options: Options of a source that isn't built in, as in `--data.source_options.coarse true`.
        data_dir: Folder of the data set; a download goes there.
        urls: Addresses to download the official archive from, instead of the built-in list.
        classes: Use only the images of these classes. Default: all.
        image_size: Width and height that pictures are scaled to, for `folder` and for `pictures`.
        batch_size: Images in a batch (of one process).
        val_size: Training images that are held out for validation, the same share of every class. Below 1 it is a share
            of the training images, 0.1 for a tenth. Default: the source's own validation images, or else a tenth.
        train_size: Use only so many training images, the same share of every class; the validation images don't count.
            A smaller set is part of a larger one. Default: all.
        seed: Seed of the validation split and of `train_size`, of the order of the training images, and of noise on
            test images.
        flip: Mirror training images left to right at random.
        crop_padding: Pad training images by this many pixels and cut them out at random; 0 is off.
        cutout: Paint a square of this many pixels, somewhere in each training image, in the image's mean color
            (cutout; DeVries and Taylor 2017, arXiv:1708.04552); 0 is off.
        mixup: Blend training images and their labels in pairs, with shares from a Beta distribution with this parameter
            (mixup; Zhang et al. 2018, arXiv:1710.09412), such as 0.2; 0 is off. Training accuracy then counts the
            image with the larger share.
        pictures: For `predict`: a folder of pictures of any size, or one picture. Default: the test images.
        corruption: What spoils the test images, to see what a network does when the data shifts. Images of training and
            validation stay as they are.
        severity: How much it spoils them, from 1 to 5 (as in CIFAR-10-C; see `lit_cifar.data.corruptions`).
    """

    def __init__(
        self,
        *,
        source: str = "cifar10",
        source_options: dict[str, Any] | None = None,
        data_dir: str = "data",
        urls: list[str] | None = None,
        classes: list[str] | None = None,
        image_size: int = IMAGE_SHAPE[1],
        batch_size: int = 128,
        val_size: int | float | None = None,
        train_size: int | None = None,
        seed: int = 0,
        flip: bool = False,
        crop_padding: int = 0,
        cutout: int = 0,
        mixup: float = 0.0,
        pictures: str | None = None,
        corruption: Corruption | None = None,
        severity: int = 1,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        self.init_args: Mapping[str, Any] = given
        check_options(batch_size=batch_size, val_size=val_size, crop_padding=crop_padding, cutout=cutout, mixup=mixup)
        check(corruption, severity)
        if corruption and pictures:
            raise UserError("corruption is of the test images, not of pictures: leave one of them out.")
        check_image_size(image_size, is_free=source == "folder" or pictures is not None)
        options: dict[str, Any] = {"urls": urls} if urls else {}
        self.source = open_source(source, Path(data_dir), image_size=image_size, options=source_options, **options)
        if classes is not None:
            self.source = ChosenClasses(self.source, classes)
        self.image_size = image_size
        self.batch_size = batch_size
        self.val_size = val_size
        self.train_size = train_size
        self.seed = seed
        self.flip = flip
        self.crop_padding = crop_padding
        self.cutout = cutout
        self.mixup = mixup
        self.pictures = pictures
        self.corruption = corruption
        self.severity = severity
        self._sets: dict[str, InMemoryImages] = {}
        # For `predict`: a path or index of each image, its class (or just its folder), and what could not be read.
        self.picture_names: Sequence[str] = ()
        self.picture_labels: Sequence[str] = ()
        self.unreadable_pictures: Mapping[str, str] = {}

    def __repr__(self) -> str:
        changed = (f"{name}={value!r}" for name, value in self.init_args.items() if value != DEFAULTS[name])
        return f"{type(self).__name__}({', '.join(changed)})"

    __str__ = __repr__  # Lightning's lists the loaders, which are there only during a training

    @property
    def origin(self) -> dict[str, Any]:
        """The constructor's arguments that decide which images there are and which of them are for validation."""
        return {
            **{name: self.init_args[name] for name in ORIGIN},
            "source": settled(self.init_args["source"], self.source),
        }

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their labels."""
        return self.source.class_names

    @property
    def data_source(self) -> str:
        """The name of the images in every artifact."""
        if self.corruption is None:
            return self.source.name
        return f"{self.source.name}, test images CORRUPTED by {self.corruption}, severity {self.severity} of 5"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images, and of pictures to predict."""
        own = self.source.image_shape
        return (own[0], self.image_size, self.image_size) if own == IMAGE_SHAPE else own

    @property
    def train_images(self) -> Tensor:
        """The images of the training split, uint8 [N, C, H, W]."""
        return self._sets["train"].images

    @property
    def val_images(self) -> Tensor:
        """The images of the validation split, uint8 [N, C, H, W]."""
        return self._sets["val"].images

    @property
    def test_images(self) -> InMemoryImages:
        """The test images and their labels."""
        return self._sets["test"]

    def example_batch(self) -> Batch:
        """Images and labels as in a full training batch, to trace or to size something; not a batch of the training."""
        images = self.train_images[: self.batch_size]
        shape, dtype = ((len(self.class_names),), torch.float32) if self.mixup else ((), torch.int64)
        return images, torch.zeros(len(images), *shape, dtype=dtype)

    def prepare_data(self) -> None:
        if not self.pictures:
            self.source.prepare()

    def setup(self, stage: str) -> None:
        if stage in ("fit", "validate") and "train" not in self._sets:
            train, val = self._train_and_val()
            self._sets |= {"train": InMemoryImages(train), "val": InMemoryImages(val)}
        if stage == "test" and "test" not in self._sets:
            self._sets["test"] = IndexedImages(self._test_images())
        if stage == "predict" and "predict" not in self._sets:
            self._sets["predict"] = InMemoryImages(self._images_to_predict())

    def split_indices(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The indices of the training and of the validation images, of the labels [N] of the source's training set.

        There are no validation images among them if the source brings its own.
        """
        classes = len(self.class_names)
        if self.val_size is None and self.source.val() is not None:
            train, val = torch.arange(len(labels)), torch.arange(0)
        else:
            train, val = split_indices(labels, self.val_size or DEFAULT_SHARE, self.seed, classes)
        if self.train_size is not None:
            train = train[reduced_indices(labels[train], self.train_size, self.seed, classes)]
        return train, val

    def train_dataloader(self) -> BatchLoader:
        return self._loader("train", training=True)

    def val_dataloader(self) -> BatchLoader:
        return self._loader("val")

    def test_dataloader(self) -> BatchLoader:
        return self._loader("test")

    def predict_dataloader(self) -> BatchLoader:
        return self._loader("predict")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if not (self.trainer and self.trainer.training):
            return batch
        images, labels = batch
        if self.flip:
            images = random_flip(images)
        if self.crop_padding:
            images = random_crop(images, self.crop_padding)
        if self.cutout:
            images = random_cutout(images, self.cutout)
        if self.mixup:
            images, labels = random_mixup(images, labels, self.mixup, len(self.class_names))
        return images, labels

    def _loader(self, name: str, *, training: bool = False) -> BatchLoader:
        images, shuffle, world_size, rank = self._sets[name], training, 1, 0
        if self.trainer:
            # all at once: 50,000 images are 154 MB, and each batch would have to be waited for
            images = images.to(self.trainer.strategy.root_device)
            shuffle = training and not self.trainer.overfit_batches  # type: ignore[attr-defined]
            world_size, rank = self.trainer.world_size, self.trainer.global_rank
        if not training and len(images) < world_size:  # Lightning would skip a process that has none, and hang
            raise UserError(
                f"{len(images)} {name} image{'s' * (len(images) > 1)} can't be shared by {world_size} processes: "
                f"use devices={len(images)}."
            )
        # Evaluation holds no gradients: larger batches only save time.
        batch_size = self.batch_size if training else max(self.batch_size, 500)
        sampler = BatchSampler(
            len(images), batch_size=batch_size, shuffle=shuffle, seed=self.seed, num_replicas=world_size, rank=rank
        )
        return BatchLoader(images, sampler)

    def _train_and_val(self) -> tuple[ImageSet, ImageSet]:
        images = checked(self.source, self.source.train())
        train, val = self.split_indices(images.labels)
        own = None if len(val) else self.source.val()
        return _subset(images, train), checked(self.source, own) if own else _subset(images, val)

    def _test_images(self) -> ImageSet:
        test = checked(self.source, self.source.test())
        if self.corruption is None:
            return test
        return ImageSet(corrupt(test.images, self.corruption, self.severity, seed=self.seed), test.labels)

    def _images_to_predict(self) -> ImageSet:
        """The pictures, or else the test images; labels are then indices into `picture_names`."""
        if self.pictures:
            found = read_pictures(Path(self.pictures), self.image_shape)
            if not found.paths:
                path, reason = next(iter(found.unreadable.items()))
                raise UserError(f"No picture in {self.pictures} can be read. The first one, {path}: {reason}.")
            images, self.picture_names, self.unreadable_pictures = found.images, found.paths, found.unreadable
            self.picture_labels = [PurePosixPath(path).parent.name for path in found.paths]
        else:
            test = self._test_images()
            images = test.images
            self.picture_names = [str(index) for index in range(len(images))]
            self.picture_labels = [self.class_names[label] for label in test.labels.tolist()]
        return ImageSet(images, torch.arange(len(images)))


ORIGIN = ("source", "source_options", "data_dir", "classes", "image_size", "val_size", "train_size", "seed")

DEFAULTS = {name: parameter.default for name, parameter in signature(CIFAR10DataModule).parameters.items()}
"""The constructor's arguments where none are given."""


def _subset(image_set: ImageSet, indices: Tensor) -> ImageSet:
    return ImageSet(image_set.images[indices], image_set.labels[indices])

"""The images of a study: chosen once, the same for all of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.sources import IMAGE_SHAPE, settled
from lit_cifar.data.splits import DEFAULT_SHARE
from lit_cifar.study.fingerprints import data_fingerprint
from lit_cifar.study.schema import Study
from lit_cifar.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """Available images.

    Args:
        arguments: Arguments of CIFAR10DataModule, without seed, batch and validation size; the source is never `auto`.
        name: Name of the images in all artifacts.
        fingerprint: A digest of the images.
        train_images: Number of images to train and validate with; None if it isn't known.
    """

    arguments: Mapping[str, Any]
    name: str
    fingerprint: str
    train_images: int | None = None

    @property
    def label(self) -> str:
        """A short name for folders; empty for CIFAR-10."""
        source = str(self.arguments["source"])
        if source == "folder":
            size = self.arguments.get("image_size", IMAGE_SHAPE[1])
            scaled = "" if size == IMAGE_SHAPE[1] else f"-{size}px"
            return Path(self.arguments["data_dir"]).resolve().name + scaled
        return "" if source == "cifar10" else source.rpartition(".")[2]

    def fitted(self, study: Study) -> Study:
        """The study without its `train_size` if there are no more images than that."""
        size, images = study.protocol.train_size, self.train_images
        if size is None or images is None or size < _without_validation(images, study.protocol.val_size):
            return study
        return study.model_copy(update={"protocol": study.protocol.model_copy(update={"train_size": None})})

    def check(self, study: Study) -> None:
        """Find classes that these images don't have before the first run starts.

        Raises:
            UserError: naming the run and the classes.
        """
        for name, run in study.runs.items():
            try:
                _ = CIFAR10DataModule(**{**self.arguments, **run.data}).class_names
            except UserError as error:
                raise UserError(f"Run {name!r} of the study {study.name!r}: {error}") from error


def _without_validation(images: int, val_size: float | None) -> float:
    """About how many of the images are left for training."""
    share = DEFAULT_SHARE if val_size is None else val_size
    return images * (1 - share) if share < 1 else images - share


def open_data(arguments: Mapping[str, Any]) -> StudyData:
    """Get the images: download and decode what is missing.

    Args:
        arguments: Arguments of CIFAR10DataModule, without seed, batch and validation size.

    Raises:
        UserError: If the data is not available.
    """
    source = CIFAR10DataModule(**arguments).source
    source.prepare()
    chosen = {**arguments, "source": settled(arguments["source"], source)}  # workers must not choose again
    return StudyData(
        arguments=chosen,
        name=source.name,
        fingerprint=data_fingerprint(source),
        train_images=len(source.train()),
    )

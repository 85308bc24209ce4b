"""Where images come from: CIFAR-10's official files, a folder of pictures, the synthetic set, or a package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_cifar.data.sources.auto import FORMER_REMARK, REMARK, AutoSource
from lit_cifar.data.sources.base import CIFAR10_CLASSES, IMAGE_SHAPE, ImageSet, Source, checked
from lit_cifar.data.sources.chosen_classes import ChosenClasses
from lit_cifar.data.sources.cifar10 import DEFAULT_URLS, CIFAR10Source
from lit_cifar.data.sources.folder import FolderSource
from lit_cifar.data.sources.hugging_face import UOFT_CS, HuggingFaceSource
from lit_cifar.data.sources.image_files import Pictures, read_pictures
from lit_cifar.data.sources.plugins import BUILT_IN, check_known, find_class, open_plugin
from lit_cifar.utils.errors import UserError

__all__ = [
    "BUILT_IN",
    "CIFAR10_CLASSES",
    "DEFAULT_URLS",
    "IMAGE_SHAPE",
    "ChosenClasses",
    "ImageSet",
    "Pictures",
    "Source",
    "check_known",
    "checked",
    "find_class",
    "open_source",
    "read_pictures",
    "settled",
    "without_remark",
]


def settled(kind: str, source: Source) -> str:
    """The kind to open again for the same images: for `auto`, what it has chosen."""
    if isinstance(source, ChosenClasses):
        source = source.source
    if not isinstance(source, AutoSource):
        return kind
    if isinstance(source.chosen, HuggingFaceSource):
        return "huggingface"
    return "cifar10" if isinstance(source.chosen, CIFAR10Source) else "synthetic"


def without_remark(name: str) -> str:
    """The name of the images themselves, without the remark that they stand in for CIFAR-10."""
    return name.removesuffix(REMARK).removesuffix(FORMER_REMARK)


def open_source(
    kind: str,
    data_dir: Path,
    *,
    urls: Sequence[str] = DEFAULT_URLS,
    image_size: int = IMAGE_SHAPE[1],
    options: Mapping[str, Any] | None = None,
) -> Source:
    """The source of a kind; it reads and downloads nothing before it is asked to.

    Args:
        kind: One of `BUILT_IN`, the name of an installed source, or a class path. `auto` is CIFAR-10 or its copy if it
            is there or can be downloaded soon, else synthetic (see `AutoSource`).
        data_dir: The folder the files are in, or are downloaded to; `synthetic` needs none.
        urls: Addresses of the CIFAR-10 archive; the fastest is tried first.
        image_size: Width and height that pictures in a folder are scaled to.
        options: Options of a source that isn't built in.

    Raises:
        UserError: If there is no such kind, it doesn't take the options, or an address is no web address.
    """
    if kind not in BUILT_IN:
        return open_plugin(kind, data_dir, options or {})
    if options:
        raise UserError(f"source={kind!r} has no source_options, which are for sources of packages: leave them out.")
    if kind == "cifar10":
        return CIFAR10Source(data_dir, urls=urls)
    if kind == "huggingface":
        return HuggingFaceSource(data_dir)
    if kind == "folder":
        return FolderSource(data_dir, image_size=image_size)
    if kind == "auto":
        return AutoSource(data_dir, urls=urls, copy=UOFT_CS if urls == DEFAULT_URLS else None)
    from lit_cifar.data.sources.synthetic import SyntheticSource

    return SyntheticSource()

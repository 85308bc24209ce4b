"""CIFAR-10 where it can be had at once, synthetic images where it can't."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from lit_cifar.data.sources.base import ImageSet, Source
from lit_cifar.data.sources.cache import BusyError
from lit_cifar.data.sources.cifar10 import DEFAULT_URLS, OFFICIAL, Archive, CIFAR10Source
from lit_cifar.data.sources.download import QUICK, DownloadError, Patience
from lit_cifar.data.sources.hugging_face import Copy, HuggingFaceSource
from lit_cifar.utils.console import say


class AutoSource(Source):
    """CIFAR-10 if its files, or its copy at Hugging Face, are there or can be downloaded soon; else synthetic images.

    Which it is, is said by `name`, and for synthetic images on stderr, too.

    "Soon": an address answers within 5 seconds and, at the speed measured over the first 3 seconds and ever after,
    the download is over within 5 minutes. Damaged files are an error, not a reason for synthetic images.

    The choice is made once, by whatever is asked for first, `name` and `class_names` included: they depend on it.
    Processes that start together choose one after another, and find what the first of them has downloaded.

    Args:
        data_dir: Where CIFAR-10 is, or goes.
        urls: Addresses of the archive, tried in order.
        archive: The md5s to check against.
        copy: The copy that is tried next; None for none.
        patience: How soon "soon" is.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        urls: Sequence[str] = DEFAULT_URLS,
        archive: Archive = OFFICIAL,
        copy: Copy | None = None,
        patience: Patience = QUICK,
    ) -> None:
        # Another process may be downloading with as much patience, and has the images still to decode.
        wait = patience.total + 60
        self._cifar10 = CIFAR10Source(data_dir, urls=urls, archive=archive, rounds=[patience], wait=wait)
        self._copy = HuggingFaceSource(data_dir, copy=copy, rounds=[patience], wait=wait) if copy else None

    @cached_property
    def chosen(self) -> Source:
        """The source that gives the images; prepared if it is CIFAR-10."""
        problems: list[str] = []
        for source in filter(None, (self._cifar10, self._copy)):
            try:
                source.prepare()
            except (DownloadError, BusyError) as error:
                problems.append(str(error))
            else:
                return source
        say(_LOUDLY.format(error="\n".join(problems)))
        from lit_cifar.data.sources.synthetic import SyntheticSource

        return SyntheticSource()

    @property
    def name(self) -> str:
        chosen = self.chosen
        return chosen.name if chosen in (self._cifar10, self._copy) else f"{chosen.name} (CIFAR-10 could not be had)"

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.chosen.class_names

    def prepare(self) -> None:
        self.chosen.prepare()

    def train(self) -> ImageSet:
        return self.chosen.train()

    def val(self) -> ImageSet | None:
        return self.chosen.val()

    def test(self) -> ImageSet:
        return self.chosen.test()


_LOUDLY = """\
WARNING: training on SYNTHETIC IMAGES, not on CIFAR-10: results say nothing about CIFAR-10.
{error}
To wait for the download, however long it takes, choose the source cifar10."""

"""CIFAR-10 if it is available soon, otherwise synthetic images."""

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

REMARK = " (CIFAR-10 is not available)"
"""What the name of the synthetic images ends with if they stand in for CIFAR-10."""

FORMER_REMARK = " (CIFAR-10 could not be had)"
"""What earlier versions wrote to a study's folder."""


class AutoSource(Source):
    """CIFAR-10 or its copy at Hugging Face, if the files exist or can be downloaded soon; otherwise synthetic images.

    `name` says which of them it is. For synthetic images there is also a warning on stderr.

    "Soon" means that an address answers within 5 seconds, and that the speed since then promises a download in less
    than 5 minutes. The speed is first checked after 3 seconds. Damaged files are an error.

    The choice is made on first use of any method or property. Processes that start together choose one after the other,
    so the others find what the first one has downloaded.

    Args:
        data_dir: Folder of CIFAR-10, or where to download it to.
        urls: Addresses of the archive. The fastest is tried first.
        archive: The expected md5 checksums.
        copy: The copy to try next, or None.
        patience: Time limits for each address.
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
        # Another process may take the whole time for the download, and has to decode the images afterwards.
        wait = patience.total + 60
        self._cifar10 = CIFAR10Source(data_dir, urls=urls, archive=archive, rounds=[patience], wait=wait)
        self._copy = HuggingFaceSource(data_dir, copy=copy, rounds=[patience], wait=wait) if copy else None

    @cached_property
    def chosen(self) -> Source:
        """The chosen source. If it is CIFAR-10, it has been prepared."""
        problems: list[str] = []
        for source in filter(None, (self._cifar10, self._copy)):
            try:
                source.prepare()
            except (DownloadError, BusyError) as error:
                problems.append(str(error))
            else:
                return source
        say(_WARNING.format(error="\n".join(problems)))
        from lit_cifar.data.sources.synthetic import SyntheticSource

        return SyntheticSource()

    @property
    def name(self) -> str:
        chosen = self.chosen
        return chosen.name if chosen in (self._cifar10, self._copy) else chosen.name + REMARK

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


_WARNING = """\
WARNING: training on SYNTHETIC IMAGES, not on CIFAR-10: results say nothing about CIFAR-10.
{error}
To wait for the download, however long it takes: source="cifar10"."""

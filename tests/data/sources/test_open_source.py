"""The public interface of the sources, and its contract."""

from __future__ import annotations

import pytest
import torch

from lit_cifar.data import sources
from lit_cifar.data.sources import ImageSet, open_source
from lit_cifar.data.sources.auto import AutoSource
from lit_cifar.data.sources.cifar10 import CIFAR10Source
from lit_cifar.data.sources.folder import FolderSource
from lit_cifar.data.sources.hugging_face import HuggingFaceSource
from lit_cifar.data.sources.synthetic import SyntheticSource
from lit_cifar.utils.errors import UserError

IMAGES, LABELS = torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("cifar10", CIFAR10Source),
        ("huggingface", HuggingFaceSource),
        ("folder", FolderSource),
        ("synthetic", SyntheticSource),
        ("auto", AutoSource),
    ],
)
def test_each_kind_opens_without_touching_anything(tmp_path, kind, expected) -> None:
    assert type(open_source(kind, tmp_path / "missing")) is expected
    assert list(tmp_path.iterdir()) == []


def test_unknown_kind_is_answered_with_the_choices(tmp_path) -> None:
    with pytest.raises(UserError, match=r"'cifar'.*cifar10, huggingface, folder, synthetic, auto"):
        open_source("cifar", tmp_path)


@pytest.mark.parametrize("kind", ["cifar10", "auto"])
def test_own_addresses_are_used(tmp_path, kind) -> None:
    with pytest.raises(UserError, match="ftp://example"):
        open_source(kind, tmp_path, urls=["ftp://example.org/cifar-10-python.tar.gz"])


def test_public_names() -> None:
    assert sources.__all__ == sorted(
        sources.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    assert all(hasattr(sources, name) for name in sources.__all__)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES.float(), LABELS),
        (IMAGES[:, :, :16], LABELS),
        (IMAGES, LABELS[:1]),
        (IMAGES, LABELS.int()),
        (IMAGES.permute(0, 1, 3, 2), LABELS),
    ],
    ids=["float", "small", "too few labels", "int32 labels", "not contiguous"],
)
def test_image_set_of_another_kind_is_refused(images, labels) -> None:
    with pytest.raises(ValueError, match="must be contiguous"):
        ImageSet(images, labels)


def test_image_set_knows_its_length() -> None:
    assert len(ImageSet(IMAGES, LABELS)) == 2

"""`auto`: CIFAR-10 if it is available soon, otherwise synthetic images with a warning."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from lit_cifar.data.sources import CIFAR10_CLASSES, ImageSet
from lit_cifar.data.sources import synthetic as synthetic_module
from lit_cifar.data.sources.auto import AutoSource
from lit_cifar.data.sources.base import Source
from lit_cifar.data.sources.cifar10 import ARCHIVE_NAME, FOLDER_NAME
from lit_cifar.data.sources.download import QUICK, Patience
from lit_cifar.utils.errors import UserError

NOBODY = "http://127.0.0.1:9/cifar-10-python.tar.gz"
IMPATIENT = Patience(silence=0.3, total=1, trial=0.1)
SUBSTITUTE = "drawn images (CIFAR-10 is not available)"


class Drawn(Source):
    """A quick stand-in for the synthetic images."""

    name = "drawn images"
    class_names = ("disc", "ring")

    def prepare(self) -> None:
        pass

    def train(self) -> ImageSet:
        return ImageSet(torch.zeros(7, 3, 32, 32, dtype=torch.uint8), torch.zeros(7, dtype=torch.int64))

    test = train


@pytest.fixture(autouse=True)
def drawn(monkeypatch) -> None:
    monkeypatch.setattr(synthetic_module, "SyntheticSource", Drawn)


def auto(folder: Path, fake, *urls: str, patience: Patience = IMPATIENT) -> AutoSource:
    return AutoSource(folder, urls=urls or [NOBODY], archive=fake.archive, patience=patience)


def test_files_that_are_there_are_used(tmp_path, fake, capfd) -> None:
    fake.extract(tmp_path / FOLDER_NAME)
    source = auto(tmp_path, fake)
    source.prepare()
    assert (source.name, source.class_names) == ("CIFAR-10 (official files)", CIFAR10_CLASSES)
    assert (len(source.train()), len(source.test())) == (20, 4)
    assert capfd.readouterr().err == ""


def test_fast_server_is_used(tmp_path, fake, serve) -> None:
    assert auto(tmp_path, fake, serve().url).name == "CIFAR-10 (official files)"
    assert auto(tmp_path, fake).name == "CIFAR-10 (official files)"


def test_without_a_network_synthetic_images_are_used_and_said(tmp_path, fake, capfd) -> None:
    source = auto(tmp_path, fake)
    source.prepare()
    assert (source.name, source.class_names, len(source.train())) == (SUBSTITUTE, ("disc", "ring"), 7)
    message = capfd.readouterr().err
    assert message.startswith("WARNING: training on SYNTHETIC IMAGES")
    assert "Connection refused" in message
    assert 'however long it takes: source="cifar10".' in message
    assert message.count("WARNING") == 1


@pytest.mark.parametrize("habits", [{"pause": 2}, {"piece": 100, "pause": 0.01}], ids=["silent", "slow"])
def test_server_too_slow_is_not_waited_for(tmp_path, fake, serve, habits) -> None:
    server = serve(**habits)
    start = time.monotonic()
    assert auto(tmp_path, fake, server.url).name == SUBSTITUTE
    assert time.monotonic() - start < 1


def test_download_given_up_is_continued_next_time(tmp_path, fake, serve) -> None:
    slow, fast = serve(piece=100, pause=0.01), serve()
    auto(tmp_path, fake, slow.url).prepare()
    assert auto(tmp_path, fake, fast.url).name == "CIFAR-10 (official files)"
    assert fast.asked[0] > 0


def test_choice_is_kept(tmp_path, fake) -> None:
    source = auto(tmp_path, fake)
    assert source.name == SUBSTITUTE
    fake.extract(tmp_path / FOLDER_NAME)
    assert source.name == SUBSTITUTE
    assert auto(tmp_path, fake).name == "CIFAR-10 (official files)"


def test_damaged_files_are_an_error(tmp_path, fake) -> None:
    (tmp_path / ARCHIVE_NAME).write_bytes(fake.content[:-1])
    with pytest.raises(UserError, match="is not the official file"):
        auto(tmp_path, fake).prepare()


def test_another_process_that_downloads_is_not_waited_for_without_end(tmp_path, fake, cache, capfd) -> None:
    source = auto(tmp_path, fake, patience=Patience(silence=1, total=0.2 - 60))
    cache.mkdir()
    with FileLock((cache / source._cifar10._file_name).with_suffix(".lock")):
        assert source.name == SUBSTITUTE
    assert "Waiting for another process" in capfd.readouterr().err


def test_soon_is_five_minutes() -> None:
    assert Patience(silence=5, total=300, trial=3) == QUICK

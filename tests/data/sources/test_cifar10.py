"""The official CIFAR-10 files are verified before they are read, wherever they are."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from torchvision.datasets import CIFAR10

from lit_cifar.data.sources.base import CIFAR10_CLASSES
from lit_cifar.data.sources.cifar10 import ARCHIVE_NAME, DEFAULT_URLS, FOLDER_NAME, OFFICIAL, Archive, CIFAR10Source
from lit_cifar.data.sources.download import Patience
from lit_cifar.utils.errors import UserError

NOBODY = "http://127.0.0.1:9/cifar-10-python.tar.gz"
BATCHES = [f"data_batch_{number}" for number in range(1, 6)]


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.folder),)


def check(source: CIFAR10Source, fake) -> None:
    train, test = source.train(), source.test()
    assert (train.images.numpy() == fake.images(*BATCHES)).all()
    assert train.labels.tolist() == fake.labels(*BATCHES)
    assert (test.images.numpy() == fake.images("test_batch")).all()
    assert test.labels.tolist() == fake.labels("test_batch")


def source_in(folder: Path, fake, *urls: str, **arguments: object) -> CIFAR10Source:
    return CIFAR10Source(folder, urls=urls or [NOBODY], archive=fake.archive, **arguments)


def test_md5s_are_those_that_torchvision_knows() -> None:
    assert OFFICIAL.md5 == CIFAR10.tgz_md5
    assert list(OFFICIAL.train.items()) == [tuple(pair) for pair in CIFAR10.train_list]
    assert list(OFFICIAL.test.items()) == [tuple(pair) for pair in CIFAR10.test_list]
    assert (CIFAR10.filename, CIFAR10.base_folder, CIFAR10.url) == (ARCHIVE_NAME, FOLDER_NAME, DEFAULT_URLS[0])


def test_name_and_classes(tmp_path, fake) -> None:
    source = source_in(tmp_path, fake)
    assert source.name == "CIFAR-10 (official files)"
    assert source.class_names == CIFAR10_CLASSES


def test_extracted_folder_in_data_dir(tmp_path, fake) -> None:
    fake.extract(tmp_path / FOLDER_NAME)
    check(source_in(tmp_path, fake), fake)


def test_extracted_folder_as_data_dir(tmp_path, fake) -> None:
    check(source_in(fake.extract(tmp_path / "renamed"), fake), fake)


def test_archive_in_data_dir(tmp_path, fake) -> None:
    (tmp_path / ARCHIVE_NAME).write_bytes(fake.content)
    check(source_in(tmp_path, fake), fake)
    assert not (tmp_path / FOLDER_NAME).exists()


def test_download(tmp_path, fake, serve) -> None:
    check(source_in(tmp_path / "new" / "folder", fake, serve().url), fake)
    assert (tmp_path / "new" / "folder" / ARCHIVE_NAME).read_bytes() == fake.content


def test_next_start_needs_neither_files_nor_server(tmp_path, fake, serve) -> None:
    server = serve()
    source_in(tmp_path, fake, server.url).prepare()
    (tmp_path / ARCHIVE_NAME).unlink()
    check(source_in(tmp_path, fake, server.url), fake)
    assert server.asked == [0]


def test_cache_of_another_archive_is_not_used(tmp_path, fake, serve) -> None:
    source_in(tmp_path, fake, serve().url).prepare()
    other = Archive(md5="0" * 32, size=1, train=fake.archive.train, test=fake.archive.test)
    with pytest.raises(UserError, match="is not the official file"):
        CIFAR10Source(tmp_path, urls=[NOBODY], archive=other).prepare()


@pytest.mark.parametrize("damage", ["cut short", "emptied", "one byte changed", "not a zip file"])
def test_damaged_cache_is_made_again(tmp_path, fake, cache, damage) -> None:
    fake.extract(tmp_path / FOLDER_NAME)
    source_in(tmp_path, fake).prepare()
    (file,) = cache.glob("*.npz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"cut short": content[:-5000], "emptied": b"", "one byte changed": content, "not a zip file": b"x" * 999}
    file.write_bytes(damaged[damage])
    check(source_in(tmp_path, fake), fake)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_changed_file_is_named_and_never_unpickled(tmp_path, fake, name) -> None:
    folder = fake.extract(tmp_path / FOLDER_NAME)
    (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(UserError, match=rf"{name} is not the official file.*Delete {folder}"):
        source_in(tmp_path, fake).prepare()
    assert not (tmp_path / "sprung").exists()


def test_file_cut_short_is_named(tmp_path, fake) -> None:
    folder = fake.extract(tmp_path / FOLDER_NAME)
    (folder / "data_batch_2").write_bytes(fake.files["data_batch_2"][:-1])
    with pytest.raises(UserError, match="data_batch_2 is not the official file: it is damaged, cut short"):
        source_in(tmp_path, fake).prepare()


def test_missing_file_is_named(tmp_path, fake) -> None:
    folder = fake.extract(tmp_path / FOLDER_NAME)
    (folder / "data_batch_4").unlink()
    with pytest.raises(UserError, match="data_batch_4 is missing"):
        source_in(tmp_path, fake).prepare()


def test_changed_archive_is_named_and_never_opened(tmp_path, fake) -> None:
    with tarfile.open(tmp_path / ARCHIVE_NAME, "w:gz") as tar:
        for name in fake.archive.files:
            content = pickle.dumps(Trap(tmp_path / "sprung"))
            member = tarfile.TarInfo(f"{FOLDER_NAME}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(UserError, match=rf"{ARCHIVE_NAME} is not the official file.*Delete .*{ARCHIVE_NAME}"):
        source_in(tmp_path, fake).prepare()
    assert not (tmp_path / "sprung").exists()


def test_archive_cut_short_is_named_and_left_alone(tmp_path, fake) -> None:
    (tmp_path / ARCHIVE_NAME).write_bytes(fake.content[:-1])
    with pytest.raises(UserError, match="is not the official file"):
        source_in(tmp_path, fake).prepare()
    assert (tmp_path / ARCHIVE_NAME).exists()


def test_without_a_network_one_message_names_the_ways_out(tmp_path, fake) -> None:
    with pytest.raises(UserError) as failure:
        source_in(tmp_path, fake).prepare()
    message = str(failure.value)
    assert NOBODY in message
    assert f"put cifar-10-python.tar.gz (md5 {fake.archive.md5}) into {tmp_path}" in message
    assert "urls=[https" in message
    assert 'source="folder"' in message
    assert 'source="synthetic"' in message


def test_next_start_continues_the_download(tmp_path, fake, serve) -> None:
    server = serve(cuts=[5000, 0])
    with pytest.raises(UserError, match="cut off"):
        source_in(tmp_path, fake, server.url, rounds=[Patience(silence=5)]).prepare()
    check(source_in(tmp_path, fake, server.url), fake)
    assert server.asked == [0, 5000, 5000]


def test_address_of_another_kind_is_refused_at_once(tmp_path) -> None:
    with pytest.raises(UserError, match="file:///etc/passwd"):
        CIFAR10Source(tmp_path, urls=["file:///etc/passwd"])


def test_data_dir_that_is_a_file(tmp_path, fake, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"choose another folder, data_dir=…"):
        source_in(tmp_path / "file", fake).prepare()


def test_two_at_once_download_once(tmp_path, fake, serve) -> None:
    """Threads stand for processes: a file lock keeps them apart just as well."""
    server = serve(piece=10_000, pause=0.02)
    sources = [source_in(tmp_path, fake, server.url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(CIFAR10Source.prepare, sources))
    for source in sources:
        check(source, fake)
    assert server.asked == [0]


@pytest.mark.slow
def test_two_processes_at_once_download_once(tmp_path, fake, serve) -> None:
    server = serve(piece=2000, pause=0.1)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=source_in(tmp_path, fake, server.url).prepare) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert server.asked == [0]
    check(source_in(tmp_path, fake), fake)

"""The copy of CIFAR-10 at Hugging Face, from a server on this machine that imitates it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from lit_cifar.data.sources import hugging_face
from lit_cifar.data.sources.auto import AutoSource
from lit_cifar.data.sources.download import File, Patience
from lit_cifar.data.sources.hugging_face import UOFT_CS, Copy, HuggingFaceSource, digest
from lit_cifar.utils.errors import UserError

BATCH = 20
ORDER = (4, 3, 2, 5, 1)
ROUNDS = (Patience(silence=5),)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def batch(number: int) -> tuple[np.ndarray, list[int]]:
    """Images [20, 32, 32, 3] and labels of an official batch; 0 is the test batch."""
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (BATCH, 32, 32, 3), dtype=np.uint8), rng.permutation(np.arange(BATCH) % 10).tolist()


def content(batches: tuple[int, ...], **changes: object) -> bytes:
    pictures, labels = [], []
    for number in batches:
        images, of_batch = batch(number)
        pictures += [{"bytes": png(image), "path": None} for image in images]
        labels += of_batch
    for index, picture in changes.get("pictures", {}).items():
        pictures[index] = {"bytes": picture, "path": None}
    for index, label in changes.get("labels", {}).items():
        labels[index] = label
    file = io.BytesIO()
    parquet.write_table(pa.table({"img": pictures, "label": labels}), file)
    return file.getvalue()


def placed(folder, train: bytes, test: bytes) -> HuggingFaceSource:
    """A source whose files are there."""
    folder.mkdir(exist_ok=True)
    for split, file in (("train", train), ("test", test)):
        (folder / f"{split}-00000-of-00001.parquet").write_bytes(file)
    return HuggingFaceSource(folder, copy=copy_of(train, test))


def copy_of(train: bytes, test: bytes, url: str = "http://127.0.0.1:9") -> Copy:
    files = {"train": File(None, len(train)), "test": File(None, len(test))}
    first = {number: batch(number)[1][:10] for number in (0, 1, 4)}
    return Copy(url=url, files=files, batch_size=BATCH, order=ORDER, first_labels=first)


def test_pictures_come_in_the_official_order(tmp_path) -> None:
    source = placed(tmp_path / "data", content(ORDER), content((0,)))
    train, test = source.train(), source.test()
    official = [batch(number) for number in range(1, 6)]
    assert (train.images.numpy() == np.concatenate([images for images, _ in official]).transpose(0, 3, 1, 2)).all()
    assert train.labels.tolist() == [label for _, labels in official for label in labels]
    assert test.labels.tolist() == batch(0)[1]
    assert source.name == "CIFAR-10 (copy at Hugging Face)"


def test_it_is_downloaded_once(tmp_path, serve, capfd) -> None:
    train, test = content(ORDER), content((0,))
    servers = {"train": serve(content=train), "test": serve(content=test)}
    for split, server in servers.items():
        copy = copy_of(train, test, server.url.rpartition("/")[0])
        source = HuggingFaceSource(tmp_path, copy=copy, rounds=ROUNDS)
        source._download(split, tmp_path / f"{split}-00000-of-00001.parquet")
    source.prepare()
    HuggingFaceSource(tmp_path / "elsewhere", copy=copy, rounds=ROUNDS).prepare()
    assert [server.asked for server in servers.values()] == [[0], [0]]
    assert "can't be compared with the official files" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {0: 99}}, r"it has \[.*\] train images of its classes"),
        ({"pictures": {3: png(np.zeros((31, 32, 3), np.uint8))}}, "a picture is of shape"),
        ({"pictures": {3: b"no picture"}}, "can't be read"),
    ],
)
def test_another_file_is_refused(tmp_path, changes, message) -> None:
    with pytest.raises(UserError, match=message):
        placed(tmp_path / "data", content(ORDER, **changes), content((0,))).prepare()


def test_another_order_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="the labels of batch 1 begin with"):
        placed(tmp_path / "data", content((1, 2, 3, 4, 5)), content((0,))).prepare()


def test_no_parquet_file_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="can't be read.*Delete it"):
        placed(tmp_path / "data", b"PAR1 nonsense", content((0,))).prepare()


@pytest.mark.parametrize("same", [True, False])
def test_it_is_compared_with_the_official_files_where_they_were_read(tmp_path, capfd, same) -> None:
    source = placed(tmp_path / "data", content(ORDER), content((0,)))
    official = digest(source.decode()) if same else hashlib.sha256().hexdigest()
    hugging_face.write_text(hugging_face.writable_cache() / hugging_face.DIGEST_FILE, official)
    capfd.readouterr()
    if same:
        source.prepare()
        assert "can't be compared" not in capfd.readouterr().err
    else:
        with pytest.raises(UserError, match="differ from the official files"):
            source.prepare()


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'lit-cifar\[parquet\]'"):
        HuggingFaceSource(tmp_path).prepare()


def test_auto_takes_the_copy_if_the_official_host_is_away(tmp_path, fake) -> None:
    train, test = content(ORDER), content((0,))
    placed(tmp_path / "data", train, test)
    source = AutoSource(
        tmp_path / "data", urls=["http://127.0.0.1:9/x"], archive=fake.archive, copy=copy_of(train, test)
    )
    assert source.name == "CIFAR-10 (copy at Hugging Face)"
    assert len(source.train()) == 5 * BATCH


def test_the_real_copy_is_described() -> None:
    assert sum(file.size for file in UOFT_CS.files.values()) == 143_646_105  # download_size in its dataset card
    assert sorted(UOFT_CS.order) == [1, 2, 3, 4, 5]
    assert replace(UOFT_CS) == UOFT_CS

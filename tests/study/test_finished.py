"""Finished runs are used again, unless a file is damaged or what they were made from has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lit_cifar.data.sources import open_source
from lit_cifar.study.engines.base import run_all, run_here
from lit_cifar.study.fingerprints import code_fingerprint, data_fingerprint
from lit_cifar.study.finished import adopt_former_folders, finished
from lit_cifar.study.plan import PlannedRun, folder_name
from lit_cifar.study.schema import Protocol
from lit_cifar.utils.errors import UserError

DROPOUT = {"class_path": "AlphaDropout", "init_args": {"depth": 1, "width": 4}}
MADE_FROM = {"data": "d1", "code": "c1"}


@pytest.fixture(scope="module")
def planned(pictures: Path) -> PlannedRun:
    return PlannedRun(
        name="a b",
        seed=0,
        model={"variant": DROPOUT},
        data={"source": "folder", "data_dir": str(pictures)},
        protocol=Protocol(max_epochs=1, val_size=30, mc_samples=3),
        made_from=MADE_FROM,
    )


@pytest.fixture(scope="module")
def once(planned: PlannedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder with one finished run."""
    folder = tmp_path_factory.mktemp("once")
    [(_, row, _)] = run_all([planned], folder, run_here, lambda *_: None)
    assert row["status"] == "ok", row
    return folder


@pytest.fixture
def folder(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "study"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def other_types(path: Path) -> None:
    path.write_text(
        '{"fingerprint": 7, "row": [], "images": "many", "learning_rates": {"a": "b"}}\nepoch,val/loss\nx,y\n'
    )


def json_list(path: Path) -> None:
    path.write_text("[]")


FILES = ("result.json", "metrics.csv", "test.json", "examples.npz", "checkpoints/best.ckpt")


@pytest.mark.parametrize("damage", [cut, emptied, zeroed, other_types, json_list])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named_and_its_run_repeated(
    file: str,
    damage: Callable[[Path], None],
    folder: Path,
    planned: PlannedRun,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = folder / planned.folder / file
    assert finished(planned, folder) is not None
    damage(path)
    assert finished(planned, folder) is None
    [line] = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert "The run is repeated" in line


def test_wrong_types_in_a_row_are_damage(folder: Path, planned: PlannedRun) -> None:
    path = folder / planned.folder / "result.json"
    path.write_text(path.read_text().replace('"best_epoch": 1', '"best_epoch": "one"'))
    assert finished(planned, folder) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"made_from": {"data": "d2", "code": "c1"}}, "Changed since: the images. "),
        ({"made_from": {"data": "d1", "code": "c2"}}, "Changed since: the code of a b. "),
        ({"made_from": {"data": "d2", "code": "c2"}}, "the images; the code of a b. "),
        ({"data": {"source": "synthetic"}}, "the settings of a b. "),
    ],
)
def test_what_has_changed_is_said(changes: dict[str, object], words: str, folder: Path, planned: PlannedRun) -> None:
    before = (folder / planned.folder / "result.json").read_bytes()
    changed = replace(planned, **changes)
    with pytest.raises(UserError, match="fresh=True") as error:
        list(run_all([changed], folder, run_here, lambda *_: None))
    assert words in str(error.value)
    assert (folder / planned.folder / "result.json").read_bytes() == before


def test_fresh_repeats_what_has_changed_and_nothing_else(folder: Path, planned: PlannedRun) -> None:
    changed = replace(planned, made_from={"data": "d2", "code": "c1"})
    for expected in (True, False):
        [(_, _, here)] = run_all([changed], folder, run_here, lambda *_: None, fresh=True)
        assert here is expected


def test_runs_from_before_there_were_digests_are_finished(folder: Path, planned: PlannedRun) -> None:
    old = folder / planned.folder / "result.json"
    old.write_text(old.read_text().replace('"made_from"', '"ignored"'))
    result = finished(planned, folder)
    assert result is not None
    assert result.changed == ()


def test_the_images_have_a_digest(tmp_path: Path) -> None:
    def digest(colour: int, name: str = "cat") -> str:
        folder = tmp_path / f"{colour}{name}"
        for part in ("train", "test"):
            for label in (name, "dog"):
                (folder / part / label).mkdir(parents=True)
                pixels = np.full((32, 32, 3), colour if part == "test" else 9, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / label / "1.png")
        source = open_source("folder", folder)
        source.prepare()
        return data_fingerprint(source)

    assert len({digest(1), digest(2), digest(2, "cow")}) == 3


CODE = '''
from variants.elu import ELU

class Mine(ELU):
    """Words."""
    def build(self, image_shape, num_classes):
        # words
        return super().build(image_shape, num_classes)
'''


def test_code_has_a_digest_without_its_words(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(code: str) -> str:
        module = workspace / "lit_cifar_test_code.py"
        module.write_text(code)
        monkeypatch.syspath_prepend(workspace)
        __import__("lit_cifar_test_code")
        return code_fingerprint({"variant": {"class_path": "lit_cifar_test_code.Mine", "init_args": {}}})

    first = digest(CODE)
    assert digest(CODE.replace("# words", "# other words").replace("Words.", "Other words.")) == first
    assert digest(CODE.replace("num_classes)\n", "num_classes * 1)\n")) != first


def test_a_variant_known_by_name_has_a_digest() -> None:
    assert code_fingerprint({"variant": "ELU"}) != code_fingerprint({"variant": "ConvNet"})
    assert code_fingerprint({"variant": "ELU"}) == code_fingerprint({"variant": {"class_path": "ELU"}, "l1": 1})


NAMES = ("rate <5 %", "rate >5 %", "a b", "a_b", "a/b", "a.b", "..", ".", "...", "a.", "CON", "con.txt", "größe", "🙂")


def test_different_names_have_different_folders() -> None:
    folders = {folder_name(name) for name in (*NAMES, "x" * 100, "x" * 150, "x" * 151)}
    assert len({folder.casefold() for folder in folders}) == len(NAMES) + 3
    for folder in folders:
        assert len(folder) <= 100
        assert not set(folder) & set('<>:"/\\|?* ')
        assert folder.strip(".") == folder
        assert folder.partition(".")[0].upper() not in ("CON", "")


@pytest.mark.parametrize("name", ["ELU", "a_b", "a-b", "SELU+", "0.5"])
def test_plain_names_are_their_folders(name: str) -> None:
    assert folder_name(name) == name


def test_former_folders_are_kept_where_no_two_runs_shared_one(tmp_path: Path) -> None:
    for old in ("one__two", "rate__5__"):
        (tmp_path / "runs" / old / "seed_0").mkdir(parents=True)
    adopt_former_folders(["one, two", "rate <5 %", "rate >5 %"], tmp_path)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {folder_name("one, two"), "rate__5__"}

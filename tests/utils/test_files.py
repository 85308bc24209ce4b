"""Files that are written whole or not at all."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest

from lit_cifar import __main__
from lit_cifar.utils import files


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "some.txt"
    files.write_text(target, "old")

    def fail() -> None:
        with files.replaced_when_complete(target) as unfinished:
            unfinished.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["some.txt"]
    assert target.read_text() == "old"


def test_unfinished_files_have_names_that_nobody_can_foresee(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        with files.replaced_when_complete(tmp_path / "some.txt") as unfinished:
            assert unfinished.exists(), "made before it is used, and only if it isn't there"
            names.add(unfinished.name)
    assert len(names) == 2


def test_a_link_in_the_file_s_place_is_replaced_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "link").symlink_to(precious)
    files.write_text(tmp_path / "link", "new")
    assert precious.read_text() == "mine"
    assert (tmp_path / "link").read_text() == "new"


@pytest.mark.parametrize(("refusals", "works"), [(2, True), (5, False)])
def test_windows_waits_for_a_program_that_has_the_file_open(
    refusals: int, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "WAITS_ON_WINDOWS", (0, 0, 0))
    asked = []
    replace = Path.replace

    def refuse(path: Path, target: Path) -> Path:
        asked.append(path)
        if len(asked) <= refusals:
            raise PermissionError(13, "Access is denied", str(target))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    if works:
        files.write_text(tmp_path / "some.txt", "new")
        assert (tmp_path / "some.txt").read_text() == "new"
    else:
        with pytest.raises(PermissionError):
            files.write_text(tmp_path / "some.txt", "new")
        assert not list(tmp_path.iterdir())


def test_a_stream_that_lacks_a_character_escapes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    __main__._write_any_character()
    print("\N{CHECK MARK} ± \udce9", flush=True)
    assert written.getvalue().split() == [b"\\u2713", b"\xb1", b"\\udce9"]


def test_an_emptied_folder_may_keep_files_that_another_program_has_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs/seed_0"
    (files.emptied(folder) / "events").write_text("old")
    assert not list(files.emptied(folder).iterdir())
    (folder / "events").write_text("open in TensorBoard")
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as on Windows, with ignore_errors=True
    assert files.emptied(folder) == folder
    assert (folder / "events").exists()

"""Every shipped study runs in its quick form, and is on the page of the chapter."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lit_cifar.data.sources import CIFAR10_CLASSES
from lit_cifar.study.shipped import shipped_studies
from lit_cifar.study.study_file import load_study

ROOT = Path(__file__).parents[2]
CHAPTER = (ROOT / "docs/chapter11.md").read_text(encoding="utf-8")


def test_the_chapter_s_page_has_the_cost_of_each_study(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, copy the rows that `python .ci/plans.py` prints."""
    runpy.run_path(str(ROOT / ".ci/plans.py"))
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == len(shipped_studies())
    assert [row for row in rows if row not in CHAPTER.splitlines()] == []


def test_the_chapter_s_page_has_a_section_for_each_study_that_asks_something() -> None:
    sections = CHAPTER.partition("## What a study costs\n\n")[0]
    assert {*shipped_studies()} - {*re.findall(r"(?:--study |`)([a-z0-9-]+)", sections)} == {"students"}


@pytest.fixture(scope="module")
def small_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noise with CIFAR-10's classes, which some studies name."""
    folder = tmp_path_factory.mktemp("cifar10")
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 3)):
        for name in CIFAR10_CLASSES:
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_runs(
    name: str,
    lit_cifar: Callable[..., tuple[int, str, str]],
    workspace: Path,
    small_cifar10: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lit_cifar.study.runner.write_report", lambda *_: None)
    short = ["--quick", "--seeds", 1, "--max_epochs", 1, "--lr", 1e-3, "--workers", 0, "--output", "found"]
    data = ["--data.source", "folder", "--data.data_dir", small_cifar10, "--data.val_size", 30]
    code, _, err = lit_cifar("compare", "--study", name, *short, *data)
    table = pd.read_csv("found/results.csv", keep_default_na=False)
    failed = table[table["status"] != "ok"]
    assert failed["reason"].tolist() == [], err
    assert code == 0, err
    assert set(table["run"]) == set(load_study(name).runs)

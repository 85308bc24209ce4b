"""Every shipped study runs in its quick form, and is on the page of the chapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lit_cifar.data.sources import CIFAR10_CLASSES
from lit_cifar.study.plan import plan_runs, plan_searches
from lit_cifar.study.schema import Study
from lit_cifar.study.shipped import shipped_studies
from lit_cifar.study.study_file import load_study

CHAPTER = (Path(__file__).parents[2] / "docs/chapter11.md").read_text(encoding="utf-8")
SETS_NO_QUESTION = "students"


@pytest.mark.parametrize("name", sorted({*shipped_studies()} - {SETS_NO_QUESTION}))
def test_the_page_of_the_chapter_has_the_command_and_the_cost_of_a_study(name: str) -> None:
    study = load_study(name)

    def epochs(study: Study, seeds: int) -> int:
        return sum(run.protocol.max_epochs for run in plan_runs(study, {}, seeds=range(seeds)))

    quick, runs, searches = study.quickly(), len(study.runs), len(plan_searches(study, {})) or "–"
    total = f"{epochs(study, 4):,} | {epochs(study, study.most_seeds):,} ({study.most_seeds})"
    assert f"| `{name}` | {runs} | {searches} | {total} | {epochs(quick, quick.most_seeds):,} |" in CHAPTER
    sections = CHAPTER.partition("## What a study costs")[0]
    assert f"--study {name}\n" in sections or f"`{name}`" in sections


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

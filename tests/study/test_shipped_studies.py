"""Every shipped study runs in its quick form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lit_cifar.data.sources import CIFAR10_CLASSES
from lit_cifar.study.study_file import load_study, shipped_studies


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

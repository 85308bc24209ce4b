"""Every shipped study runs in its quick form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lit_cifar.study.study_file import load_study, shipped_studies


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_runs(
    name: str,
    lit_cifar: Callable[..., tuple[int, str, str]],
    workspace: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lit_cifar.study.runner.write_report", lambda *_: None)
    short = ["--quick", "--seeds", 1, "--max_epochs", 1, "--lr", 1e-3, "--workers", 0, "--output", "found"]
    data = ["--data.source", "folder", "--data.data_dir", pictures, "--data.val_size", 30]
    code, _, err = lit_cifar("compare", "--study", name, *short, *data)
    table = pd.read_csv("found/results.csv", keep_default_na=False)
    failed = table[table["status"] != "ok"]
    assert failed["reason"].tolist() == [], err
    assert code == 0, err
    assert set(table["run"]) == set(load_study(name).runs)

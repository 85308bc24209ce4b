"""What is read back from the files that runs write."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lit_cifar.loggers import read_history


def test_history_has_a_row_an_epoch_however_many_columns_there_are(tmp_path: Path) -> None:
    layers = {f"layer_std/hidden_{index:03d}": [1.5, None] * 2 for index in range(150)}
    rows = pd.DataFrame({"epoch": [0, 0, 1, 1], "val/loss": [None, 2.0, None, 1.0], **layers})
    rows.to_csv(tmp_path / "metrics.csv", index=False)
    history = read_history(tmp_path / "metrics.csv")  # a warning would be an error
    assert history["epoch"].tolist() == [0, 1]
    assert history["val/loss"].tolist() == [2.0, 1.0]
    assert (history.filter(like="layer_std") == 1.5).all(axis=None)

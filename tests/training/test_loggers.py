"""Where runs write, and what is read back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pandas as pd

from lit_cifar.training.loggers import MetricsFile, read_history, run_loggers


def test_runs_that_start_in_the_same_instant_have_folders_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "ELU/version_2").mkdir(parents=True)
    (tmp_path / "ELU/version_4").touch()
    start = Barrier(8)

    def folders(_: int) -> set[str | None]:
        loggers = run_loggers(tmp_path, "ELU")
        start.wait()
        return {logger.log_dir for logger in loggers}  # type: ignore[attr-defined]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(folders, range(8)))
    assert sorted(found, key=str) == [{str(tmp_path / f"ELU/version_{n}")} for n in ("10", "11", "3", *range(5, 10))]


def test_a_run_that_never_starts_leaves_no_folder(tmp_path: Path) -> None:
    run_loggers(tmp_path, "ELU")
    assert not list(tmp_path.iterdir())


def test_history_has_a_row_an_epoch_however_many_columns_there_are(tmp_path: Path) -> None:
    layers = {f"layer_std/hidden_{index:03d}": [1.5, None] * 2 for index in range(150)}
    rows = pd.DataFrame({"epoch": [0, 0, 1, 1], "val/loss": [None, 2.0, None, 1.0], **layers})
    rows.to_csv(tmp_path / "metrics.csv", index=False)
    history = read_history(tmp_path / "metrics.csv")  # a warning would be an error
    assert history["epoch"].tolist() == [0, 1]
    assert history["val/loss"].tolist() == [2.0, 1.0]
    assert (history.filter(like="layer_std") == 1.5).all(axis=None)


class Counted:
    """A number that counts how often it is turned into text."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.count = 0

    def __str__(self) -> str:
        self.count += 1
        return str(self.value)


def metrics_file(folder: Path) -> MetricsFile:
    _, metrics = run_loggers(folder, "ELU")
    assert isinstance(metrics, MetricsFile)
    return metrics


def test_metrics_csv_takes_a_column_that_comes_late(tmp_path: Path) -> None:
    logger = metrics_file(tmp_path)
    for step, metrics in enumerate([{"b": 1.0}, {"b": 2.0, "a": 0.5}, {"a": 0.25}, {'a, with "quotes"': 3.0}]):
        logger.log_metrics(metrics, step)
        logger.save()
    written = pd.read_csv(Path(logger.log_dir) / "metrics.csv")
    assert written.columns.tolist() == ["a", 'a, with "quotes"', "b", "step"]
    nan = np.nan
    expected = [[nan, nan, 1, 0], [0.5, nan, 2, 1], [0.25, nan, nan, 2], [nan, 3, nan, 3]]
    np.testing.assert_array_equal(written.to_numpy(), expected)


def test_an_epochs_row_is_turned_into_text_once(tmp_path: Path) -> None:
    logger = metrics_file(tmp_path)
    rows = [Counted(epoch) for epoch in range(20)]
    for step, loss in enumerate(rows):
        logger.log_metrics({"loss": loss}, step)  # type: ignore[dict-item]
        logger.save()
    assert {loss.count for loss in rows} == {1}
    assert pd.read_csv(Path(logger.log_dir) / "metrics.csv")["loss"].tolist() == list(range(20))

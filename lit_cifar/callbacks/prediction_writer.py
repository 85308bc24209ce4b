from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from lightning import LightningModule, Trainer
from torch import Tensor

from lit_cifar.callbacks.collecting import AfterPredict
from lit_cifar.callbacks.prediction_summary import prediction_summary
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.evaluation import Found
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import check_writable, csv_text, replaced_when_complete

SHOWN = 5
"""How many files or folders are named."""


class PredictionWriter(AfterPredict):
    """Write what `predict` finds to a file, a row for each image, and print the first rows and a summary.

    Columns: path (or index), label where it is known, prediction, confidence, a `probability_` of each class, and with
    MC dropout the four uncertainties. A picture that can't be read has a row with the reason as its `error`.

    Args:
        output: The file to write, `.csv` or `.parquet`. Default: `predictions.csv` in the run's folder.
    """

    def __init__(self, output: str | None = None) -> None:
        super().__init__()
        if output and Path(output).suffix not in (".csv", ".parquet"):
            raise UserError(f"output={output!r}: the name must end in .csv or .parquet.")
        self.output = Path(output) if output else None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_predict_start(trainer, pl_module)
        self.output = self.output or Path(trainer.log_dir or ".") / "predictions.csv"
        check_writable(self.output, "Predictions")

    def report(self, trainer: Trainer, pl_module: LightningModule, found: Found) -> None:
        if self.output is None:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        names: Sequence[str] = pl_module.class_names  # type: ignore[assignment]
        table = prediction_table(data, found, names)
        write_table(table, self.output)
        print(f"\n{prediction_summary(table, names)}")
        unreadable = data.unreadable_pictures
        failed = f" ({len(unreadable)} of them could not be read)" if unreadable else ""
        for path, reason in list(unreadable.items())[:SHOWN]:
            print(f"Not read: {path}: {reason}")
        if unknown := sorted({*data.picture_labels} - {*names, ""}):
            print(f"No class is called {', '.join(unknown[:SHOWN])}: the pictures in such folders have no label.")
        counted = f"{len(table)} image{'s' * (len(table) != 1)}"
        print(f"Predictions of {counted}{failed}: {self.output}")


def prediction_table(data: CIFAR10DataModule, values: Mapping[str, Tensor], class_names: Sequence[str]) -> pd.DataFrame:
    """One row per image: its path or index, its label if it is one of the classes, and what was predicted.

    Args:
        data: Names the images, their labels, and the files that couldn't be read; these have a row with an `error`.
        values: `probabilities` [N, classes], and [N] of anything else known about each image.
        class_names: Names of the classes.
    """
    table = _readable(data.picture_names, data.picture_labels, values, class_names)
    unreadable = [{"path": path, "error": reason} for path, reason in data.unreadable_pictures.items()]
    return pd.concat([table, pd.DataFrame(unreadable)], ignore_index=True)


def _readable(
    names: Sequence[str], labels: Sequence[str], values: Mapping[str, Tensor], class_names: Sequence[str]
) -> pd.DataFrame:
    probabilities = values["probabilities"]
    confidence, prediction = probabilities.max(1)
    table = pd.DataFrame({"path": names, "label": [label if label in class_names else None for label in labels]})
    table["prediction"] = [class_names[index] for index in prediction.tolist()]
    table["confidence"] = confidence.numpy()
    table = table.join(pd.DataFrame(probabilities.numpy(), columns=[f"probability_{name}" for name in class_names]))
    others = {name: column.numpy() for name, column in values.items() if name != "probabilities"}
    return table.assign(**others).dropna(axis="columns", how="all")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV or Parquet, by suffix."""
    with replaced_when_complete(path) as unfinished:
        if path.suffix == ".parquet":
            table.to_parquet(unfinished, index=False)
        else:
            unfinished.write_text(csv_text(table), encoding="utf-8")

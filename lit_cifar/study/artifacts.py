"""Files of a run's test that the report's figures are made from: `test.json` and `examples.npz`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from lit_cifar.evaluation import Evaluation
from lit_cifar.figures import Example
from lit_cifar.utils.files import replaced_when_complete, write_text

EXAMPLES_SEED = 0
"""Runs with this seed keep a few images."""

Examples = Mapping[str, Sequence[Example]]
"""Groups of images, by their titles."""


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write scores and curves to `test.json`."""
    write_text(folder / "test.json", json.dumps(evaluation))


def read_evaluation(folder: Path) -> Evaluation | None:
    """The scores and curves of a run; None if an earlier version of lit_cifar did it."""
    path = folder / "test.json"
    evaluation: Evaluation | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return evaluation


def write_examples(examples: Examples, folder: Path) -> None:
    """Write a few images with their classes and predictions to `examples.npz`."""
    kept = [(row, example) for row, shown in examples.items() for example in shown]
    with replaced_when_complete(folder / "examples.npz") as unfinished:
        np.savez_compressed(
            unfinished,
            image=np.stack([example.image.numpy() for _, example in kept]),
            row=[row for row, _ in kept],
            label=[example.label for _, example in kept],
            prediction=[example.prediction for _, example in kept],
            confidence=[example.confidence for _, example in kept],
            rows=list(examples),
        )


def read_examples(folder: Path) -> Examples | None:
    """The images of a run; None if it kept none."""
    path = folder / "examples.npz"
    if not path.is_file():
        return None
    with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
        rows: dict[str, list[Example]] = {row: [] for row in kept["rows"].tolist()}
        columns = (kept[name].tolist() for name in ("row", "label", "prediction", "confidence"))
        for image, row, label, prediction, confidence in zip(kept["image"], *columns, strict=True):
            rows[row].append(Example(torch.from_numpy(image), label, prediction, confidence))
    return rows

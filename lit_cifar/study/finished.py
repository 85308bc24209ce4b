"""Finished runs: what they have kept, and whether it can be used again."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

import lit_cifar
from lit_cifar.study.artifacts import read_examples
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.plan import PlannedRun, folder_name, former_folder_name
from lit_cifar.training.loggers import read_history
from lit_cifar.utils.console import say
from lit_cifar.utils.files import write_text

Row = dict[str, Any]
"""A run's result: one row of `results.csv`."""

DAMAGED = (ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError, OSError, zipfile.BadZipFile)
"""Exceptions of reading a damaged file."""


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Args:
        row: Its result.
        changed: Those of `plan`, `data` and `code` that have changed since.
    """

    row: Row
    changed: tuple[str, ...] = ()


def keep(row: Row, run: PlannedRun, folder: Path) -> None:
    """Write a row with everything that is needed to get it again."""
    versions = {"lit_cifar": lit_cifar.__version__, **{name: metadata.version(name) for name in ("torch", "lightning")}}
    content = {
        "fingerprint": run.fingerprint,
        "made_from": dict(run.made_from),
        "plan": run.to_dict(),
        "versions": versions,
        "row": row,
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "result.json", json.dumps(content, indent=1))


def finished(run: PlannedRun, study_folder: Path) -> Finished | None:
    """The result of a run that was finished before; None if it failed or a file is damaged."""
    folder = study_folder / run.folder
    if not (folder / "result.json").is_file():
        return None
    reading = folder / "result.json"
    try:
        result = _read(reading)
        if result.row["status"] != "ok":
            return None
        for reading in _files(run, folder):
            _READERS[reading.name](reading)
    except DAMAGED as error:
        say(f"{run.label}: {reading} is damaged ({_in_a_line(error)}). The run is repeated.")
        return None
    return Finished(result.row, tuple(_changed(result, run)))


def changed_since(run: PlannedRun, study_folder: Path) -> tuple[str, ...]:
    """Those of `plan`, `data` and `code` that have changed since a run was finished; none if it has to be repeated."""
    path = study_folder / run.folder / "result.json"
    try:
        result = _read(path)
    except DAMAGED:
        return ()
    return tuple(_changed(result, run)) if result.row["status"] == "ok" else ()


def kept_row(run: PlannedRun, study_folder: Path) -> Row | None:
    """The row of a run that is finished or has failed; None if there is none, or the file is damaged."""
    path = study_folder / run.folder / "result.json"
    try:
        return _read(path).row if path.is_file() else None
    except DAMAGED as error:
        say(f"{run.label}: {path} is damaged ({_in_a_line(error)}). The run is left out.")
        return None


def adopt_former_folders(names: Iterable[str], study_folder: Path) -> None:
    """Give the runs of an earlier version the folders they would get today."""
    names = list(names)
    shared = Counter(former_folder_name(name).casefold() for name in names)
    for name in names:
        former, today = (study_folder / "runs" / folder for folder in (former_folder_name(name), folder_name(name)))
        if former != today and former.is_dir() and not today.exists() and shared[former.name.casefold()] == 1:
            former.rename(today)


def history(run: PlannedRun, study_folder: Path) -> pd.DataFrame:
    """The run's values epoch by epoch; empty if it has none."""
    path = study_folder / run.folder / "metrics.csv"
    try:
        return read_history(path) if path.is_file() else pd.DataFrame()
    except DAMAGED:  # of a run that failed: a finished one was checked
        return pd.DataFrame()


class _Row(BaseModel):
    """The columns that every row has, with their types."""

    model_config = ConfigDict(extra="allow", strict=True)

    run: str
    variant: str
    seed: int
    lr: float | str
    batch_size: int
    status: Literal["ok", "failed"]
    reason: str


class _Result(BaseModel):
    """The part of `result.json` that is used again."""

    model_config = ConfigDict(strict=True)

    fingerprint: str
    made_from: dict[str, str] = {}
    row: Row

    @field_validator("row")
    @classmethod
    def _has_columns_and_numbers(cls, row: Row) -> Row:
        _Row.model_validate(row)
        for column in MEASURES:
            value = row.get(column, 0)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{column} is {value!r}, not a number")
        return row


def _read(path: Path) -> _Result:
    return _Result.model_validate(json.loads(path.read_text(encoding="utf-8")))


def _changed(result: _Result, run: PlannedRun) -> Iterator[str]:
    if result.fingerprint != run.fingerprint:
        yield "plan"
    yield from (what for what, digest in run.made_from.items() if result.made_from.get(what, digest) != digest)


def _files(run: PlannedRun, folder: Path) -> Iterator[Path]:
    """The files of a run that are used again. Checkpoints may have been deleted to save space."""
    if run.kind == "search":
        yield folder / "lr_find.json"
        return
    if run.kind == "timing":
        return
    yield folder / "metrics.csv"
    optional = (folder / "test.json", folder / "examples.npz", folder / "checkpoints" / "best.ckpt")
    yield from (path for path in optional if path.is_file())


def _check_json(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    if missing := [key for key in _PARTS[path.name] if key not in content]:
        raise ValueError(f"{', '.join(missing)} is missing")
    if not _is_measured(content, _PARTS[path.name]):
        raise ValueError("it holds something else than numbers")


def _is_measured(content: Any, parts: Iterable[str] = ()) -> bool:
    """Whether something is made of mappings, lists, numbers and nothing; `parts` picks from a mapping."""
    if isinstance(content, dict):
        return all(_is_measured(content[key]) for key in parts or content)
    if isinstance(content, list):
        return all(map(_is_measured, content))
    return content is None or isinstance(content, (int, float))


def _check_history(path: Path) -> None:
    epochs = read_history(path)
    columns = ["epoch", "val/loss", "val/accuracy", "train/seconds"]
    if epochs.empty or not all(pd.api.types.is_numeric_dtype(epochs[column]) for column in columns):
        raise ValueError("it has no epochs")


def _check_checkpoint(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no checkpoint")


_PARTS = {
    "lr_find.json": ("learning_rates", "losses"),
    "test.json": ("images", "mc_samples", "scores", "risk_coverage", "reliability"),
}
"""The content of a file for the report."""

_READERS = {
    "lr_find.json": _check_json,
    "metrics.csv": _check_history,
    "test.json": _check_json,
    "examples.npz": lambda path: read_examples(path.parent),
    "best.ckpt": _check_checkpoint,
}


def _in_a_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]

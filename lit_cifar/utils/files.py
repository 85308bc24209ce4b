"""Write files atomically: readers never see a half-written file, not even after a crash."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from lit_cifar.utils.errors import UserError

WAITS_ON_WINDOWS = (0.1, 0.3, 1.0, 3.0) if os.name == "nt" else ()
"""Seconds to wait for a program that has a file open: a virus scanner, or a spreadsheet that has shown it."""

FORMULA_STARTS = ("=", "+", "-", "@")
"""Characters that start a formula in a spreadsheet, after leading blanks (OWASP, CSV Injection)."""


@contextmanager
def replaced_when_complete(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to. If the block succeeds the file becomes `path`, otherwise it is removed."""
    unfinished = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.unfinished{path.suffix}")
    unfinished.open("xb").close()  # in a folder from elsewhere, a link of this name could lead anywhere
    try:
        yield unfinished
        with unfinished.open("rb+") as written:
            os.fsync(written.fileno())  # after a power cut, the name must not exist without its content
        put_in_place(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Rename a file. Windows refuses while another program has the old one open, so wait a little for it there."""
    for seconds in WAITS_ON_WINDOWS:
        try:
            unfinished.replace(path)
            return
        except PermissionError:
            time.sleep(seconds)
    unfinished.replace(path)


def emptied(folder: Path) -> Path:
    """Make a folder, without what an interrupted attempt has left in it.

    Windows keeps files that another program has open, such as the events that TensorBoard shows.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_writable(path: Path, what: str) -> None:
    """Create the folder of a file and check that it can be written, before hours of work end in an error.

    Raises:
        UserError: if `what` (in the plural) can't be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        problem = getattr(error, "strerror", None) or error
        raise UserError(f"{what} can't be written to {repr(str(path))[1:-1]}: {problem}.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replaced_when_complete(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def csv_text(table: pd.DataFrame, *, digits: int | None = None) -> str:
    """A table as CSV without formulas: a spreadsheet would run a class named `=cmd()`, but not one named `'=cmd()`.

    Args:
        table: The table.
        digits: Significant digits of numbers; None writes all.
    """
    float_format = f"%.{digits}g" if digits else None
    return table.rename(columns=_no_formula).map(_no_formula).to_csv(index=False, float_format=float_format)


def read_csv(path: Path, *, texts: Collection[str]) -> pd.DataFrame:
    """Read a table that `csv_text` has written.

    Args:
        path: The file.
        texts: Names of columns that hold texts. Elsewhere an empty cell is nan; a run may be called "None" or "1".
    """
    options: dict[str, Any] = {"keep_default_na": False, "na_values": [""]}
    table: pd.DataFrame = pd.read_csv(path, dtype=dict.fromkeys(texts, str), **options)
    kept = [name for name in texts if name in table]
    table[kept] = table[kept].fillna("").map(_with_formula)
    return table


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = value.replace("\r", " ")  # Python's csv module does not quote it
    return f"'{value}" if value.lstrip().startswith(FORMULA_STARTS) else value


def _with_formula(value: str) -> str:
    """A text as it was before `_no_formula`."""
    is_quoted = value.startswith("'") and value[1:].lstrip().startswith(FORMULA_STARTS)
    return value[1:] if is_quoted else value

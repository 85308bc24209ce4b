"""Writing files so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced_when_complete(path: Path) -> Iterator[Path]:
    """Give a path to write to; when the block ends well it becomes `path`, otherwise it is removed."""
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.unfinished{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replaced_when_complete(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")

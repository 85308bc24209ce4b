"""Messages on stderr: lines and, on a terminal, a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_rewriting: list[Callable[[str], str]] = []


def for_user(message: str) -> str:
    """A message as its reader would write it: on the command line, arguments become options."""
    return _rewriting[-1](message) if _rewriting else message


@contextmanager
def messages_rewritten(rewrite: Callable[[str], str]) -> Iterator[None]:
    """Let a function rewrite all messages, those of other threads included."""
    _rewriting.append(rewrite)
    try:
        yield
    finally:
        _rewriting.pop()


def say(message: str) -> None:
    """Print a line to stderr."""
    print(for_user(message), file=sys.stderr, flush=True)


@contextmanager
def progress_bar(description: str, total: int | None, *, in_bytes: bool = False) -> Iterator[Callable[[int], object]]:
    """Print what is being done and show a progress bar if stderr is a terminal; gives the function that advances it."""
    say(description)
    amounts: list[ProgressColumn] = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
    with Progress(
        BarColumn(),
        *amounts,
        TimeRemainingColumn(),
        console=Console(stderr=True, force_jupyter=False),
        transient=True,
        disable=total == 1 or not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task(description, total=total)
        yield lambda amount: progress.advance(task, amount)

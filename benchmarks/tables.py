"""Tables in Markdown, line by line, so that each row is printed when it is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def heading(title: str, note: str, header: Sequence[str]) -> Iterator[str]:
    """The lines above a table's rows."""
    yield from (f"## {title}", "", note, "", row(*header), row(*["---"] * len(header)))


def row(*cells: str) -> str:
    """One row."""
    return f"| {' | '.join(cells)} |"

"""The content of a report, which the templates arrange."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, a smaller note, the number it sorts by if it is one, and whether it is the best."""

    text: str
    note: str = ""
    value: float | None = None
    best: bool = False

    def __str__(self) -> str:
        return f"{self.text} {self.note}".strip()


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is the row's name."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = True


@dataclass(frozen=True)
class ReportFigure:
    """A figure as PNG, with words for those who can't see it (`alt`) and for those who can (`caption`).

    A page on a dark background inverts figures, but not photographs.
    """

    name: str
    png: bytes
    alt: str
    caption: str
    photographs: bool = False

    @property
    def data_uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Card:
    """A question, its verdict, and the numbers behind it by their names; `tone` is yes, no or unknown."""

    ask: str
    verdict: str
    tone: str
    facts: Sequence[tuple[str, Cell]]
    note: str


@dataclass(frozen=True)
class Section:
    """A part of the report: whatever it has of these, in this order; `folded` is a title and a text behind it."""

    title: str
    cards: Sequence[Card] = ()
    text: str = ""
    folded: tuple[str, str] | None = None
    code: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[ReportFigure] = ()


@dataclass(frozen=True)
class Page:
    """All that a report says; the templates only arrange it."""

    title: str
    summary: str
    description: str
    warnings: Sequence[str]
    sections: Sequence[Section]
    date: str

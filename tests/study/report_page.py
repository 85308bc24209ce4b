"""A report written with small figures, and its page taken apart."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from lit_cifar.study.report import figures
from lit_cifar.study.report.content import write_report
from lit_cifar.study.result import StudyResult

VOID = {"meta", "link", "img", "br"}
NAME = "<script>alert('1')</script> | $a_b$ *x* `y` & ![z](http://evil.example/z.png)"


class Page(HTMLParser):
    """A page taken apart: its elements, and its text outside of style and script."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text = " ".join(f"{self.text} {data}".split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def number_of(self, tag: str, css_class: str) -> int:
        return sum(css_class in (attributes.get("class") or "").split() for attributes in self.all(tag))


def written(result: StudyResult, folder: Path) -> Path:
    """A report with small figures, which are drawn faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "DPI", 20)
        write_report(result, folder)
    return folder

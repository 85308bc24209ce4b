"""Fill pages from the records in docs/results/, or check that they say what these give.

`python .ci/results_page.py` writes tables, answers and figures, `--check` compares the texts only. Parts of four
kinds, which end at `<!-- end -->`, are made from `docs/results/NAME/`, which `lit-cifar judge FOLDER --keep` writes:

- `<!-- record NAME -->`: the whole study, with its figures;
- `<!-- answers NAME 2,3 -->`: the answers to its second and third question, or to all if no numbers are given. The
  figure of all answers follows that to the first question, so that a page shows it once;
- `<!-- list NAME 2,3 -->`: the answers alone;
- `<!-- status NAME -->`: how many of its questions are answered, within a line.

A study without a record is said not to have been run.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lit_cifar.study.answers import answered
from lit_cifar.study.judging import judge_again
from lit_cifar.study.record import read_record
from lit_cifar.study.report.page import ReportFigure
from lit_cifar.study.report.published import published_answers, published_figures, published_text
from lit_cifar.study.result import StudyResult

DOCS = Path(__file__).resolve().parent.parent / "docs"
RECORD_PAGES = ("results.md", "students.md")
"""The pages that show whole studies."""

PAGES = (*RECORD_PAGES, "chapter11.md", "exercise.md", "../README.md")
PART = re.compile(r"(<!-- (record|answers|list|status) (\S+)(?: (\S+))? -->(\n?)).*?(<!-- end -->)", re.DOTALL)
HEADING = re.compile(r"^## (.+)\n(?:(?!## ).*\n)*?<!-- record (\S+) -->", re.MULTILINE)
FIGURE = re.compile(r"\n\n!\[[^\n]*")


@dataclass(frozen=True)
class Kept:
    """A study that is kept: its outcome, judged anew, its figures if they were drawn, and where the page shows it."""

    name: str
    result: StudyResult
    figures: Sequence[ReportFigure]
    link: str

    def record(self) -> str:
        """The whole study."""
        return "\n\n".join([published_text(self.result), *map(self.shown, self.figures)])

    def answers(self, numbers: Sequence[int]) -> str:
        """The answers to some of its questions, counted from 1, with a figure and a link."""
        figure = [self.shown(figure) for figure in self.figures[:1] if 1 in numbers]
        more = f"Runs, costs and figures: [results]({self.link})."
        return "\n\n".join([published_answers(self.result, numbers), *figure, more])

    def status(self) -> str:
        """How many of its questions are answered."""
        return f"{answered(self.result.answers)} answered"

    def shown(self, figure: ReportFigure) -> str:
        """The line that shows a figure."""
        return f"![{figure.alt}](images/results/{self.file_name(figure)})"

    def file_name(self, figure: ReportFigure) -> str:
        return f"{self.name}_{figure.name}.png"


def kept(docs: Path, *, draw: bool) -> dict[str, Kept]:
    """All studies that are kept.

    Args:
        docs: The folder of the pages.
        draw: Whether to draw the figures, which takes a while.

    Raises:
        SystemExit: If a study is kept that no page has a part for.
    """
    headings = {
        name: (page, re.sub(r"[^a-z0-9]+", "-", heading.lower()))
        for page in RECORD_PAGES
        for heading, name in HEADING.findall((docs / page).read_text(encoding="utf-8"))
    }
    studies = {}
    for folder in sorted(path for path in (docs / "results").glob("*") if path.is_dir()):
        name, result = folder.name, judge_again(read_record(folder))
        if name not in headings:
            raise SystemExit(f"{' and '.join(RECORD_PAGES)} have no part <!-- record {name} --> below a heading.")
        link = "#".join(headings[name])
        studies[name] = Kept(name, result, published_figures(result) if draw else (), link)
    return studies


def filled(page: str, studies: Mapping[str, Kept]) -> str:
    """The page with its parts made anew."""

    def part(found: re.Match[str]) -> str:
        start, kind, name, numbers, newline, end = found.groups()
        if (study := studies.get(name)) is None:
            command = f"Not yet run in full: `lit-cifar compare --study {name}`."
            text = "not yet run in full" if kind == "status" else command
        elif kind == "record":
            text = study.record()
        elif kind == "status":
            text = study.status()
        else:
            asked = range(1, len(study.result.answers) + 1) if numbers is None else [int(n) for n in numbers.split(",")]
            text = study.answers(asked) if kind == "answers" else published_answers(study.result, asked)
        return f"{start}{text}{newline}{end}"

    return PART.sub(part, page)


def without_figures(page: str) -> str:
    """The page without the figures in its parts."""
    return PART.sub(lambda part: FIGURE.sub("", part[0]), page)


def write(docs: Path) -> None:
    """Make the pages and the figures anew."""
    studies = kept(docs, draw=True)
    images = docs / "images/results"
    images.mkdir(parents=True, exist_ok=True)
    for study in studies.values():
        for figure in study.figures:
            (images / study.file_name(figure)).write_bytes(figure.png)
    for name in PAGES:
        page = (docs / name).read_text(encoding="utf-8")
        (docs / name).write_text(filled(page, studies), encoding="utf-8")
    print(f"Records: {', '.join(studies) or 'none'}.")


def check(docs: Path) -> int:
    """1 if a page doesn't say what the records give."""
    studies = kept(docs, draw=False)
    pages = {name: without_figures((docs / name).read_text(encoding="utf-8")) for name in PAGES}
    old = [name for name, page in pages.items() if filled(page, studies) != page]
    print(f"Not up to date: {', '.join(old)}." if old else "The pages say what the records give.")
    return int(bool(old))


def main(arguments: list[str], docs: Path = DOCS) -> int:
    """Fill or check the pages."""
    parser = argparse.ArgumentParser(description="Fill pages from the records in docs/results/.")
    parser.add_argument("--check", action="store_true", help="Compare the texts only.")
    if parser.parse_args(arguments).check:
        return check(docs)
    write(docs)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

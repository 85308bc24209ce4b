"""Fill docs/results.md from the records in docs/results/, or check that it says what they give.

`python .ci/results_page.py` writes the tables and figures, `--check` only compares the tables. A part of the page
between `<!-- record NAME -->` and `<!-- end -->` is made from `docs/results/NAME/`, which `lit-cifar judge FOLDER
--keep` writes. A study without a record is said not to have been run.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from lit_cifar.study.judging import judge_again
from lit_cifar.study.record import read_record
from lit_cifar.study.report.page import ReportFigure
from lit_cifar.study.report.published import published_figures, published_text
from lit_cifar.study.result import StudyResult

DOCS = Path(__file__).resolve().parent.parent / "docs"
PART = re.compile(r"(<!-- record (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def kept(docs: Path) -> dict[str, StudyResult]:
    """The outcome of each study that is kept, judged anew."""
    folders = sorted(path for path in (docs / "results").glob("*") if path.is_dir())
    return {folder.name: judge_again(read_record(folder)) for folder in folders}


def filled(page: str, results: dict[str, StudyResult], *, images: Path | None = None) -> str:
    """The page with its parts made anew.

    Args:
        page: The page.
        results: The outcome of each study that is kept.
        images: Where to write figures, which takes a while; None leaves them out.

    Raises:
        SystemExit: If a study is kept that the page has no part for.
    """
    if missing := sorted(set(results) - {name for _, name, _ in PART.findall(page)}):
        raise SystemExit(f"docs/results.md has no part <!-- record {missing[0]} -->.")
    return PART.sub(lambda part: f"{part[1]}{_text(part[2], results, images)}\n{part[3]}", page)


def _text(name: str, results: dict[str, StudyResult], images: Path | None) -> str:
    if name not in results:
        return f"Not yet run in full: `lit-cifar compare --study {name}`."
    shown = published_figures(results[name]) if images else []
    return "\n\n".join([published_text(results[name]), *(_shown(figure, name, images) for figure in shown if images)])


def _shown(figure: ReportFigure, name: str, images: Path) -> str:
    """Write a figure; the line that shows it."""
    file = images / f"{name}_{figure.name}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(figure.png)
    return f"![{figure.alt}](images/results/{file.name})"


def without_figures(page: str) -> str:
    """The page without the figures in its parts."""
    return PART.sub(lambda part: re.sub(r"\n\n!\[.*", "", part[0]), page)


def main(arguments: list[str], docs: Path = DOCS) -> int:
    """Fill or check the page; 1 if its tables aren't those of the records."""
    parser = argparse.ArgumentParser(description="Fill docs/results.md from docs/results/.")
    parser.add_argument("--check", action="store_true", help="Compare the tables only.")
    check = parser.parse_args(arguments).check
    results, path = kept(docs), docs / "results.md"
    page = path.read_text(encoding="utf-8")
    if check:
        is_true = filled(without_figures(page), results) == without_figures(page)
        print("docs/results.md is what the records give." if is_true else "docs/results.md isn't up to date.")
        return int(not is_true)
    path.write_text(filled(page, results, images=docs / "images/results"), encoding="utf-8")
    print(f"docs/results.md: {', '.join(results) or 'no record'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

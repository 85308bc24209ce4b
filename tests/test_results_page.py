"""The published tables agree with the records in docs/results/."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from lit_cifar.study.judging import judge_again
from lit_cifar.study.record import read_record, write_record
from lit_cifar.study.report import figures
from lit_cifar.study.report.published import published_text
from lit_cifar.study.result import Findings
from lit_cifar.study.schema import Question, Run, Study
from lit_cifar.study.shipped import shipped_studies
from lit_cifar.study.study_file import load_study

ROOT = Path(__file__).parent.parent
PAGE = """\
# Results

## A study

An exercise.

<!-- record tiny -->
<!-- end -->

Text.

<!-- record other -->
<!-- end -->
"""
CHAPTER = "# Chapter\n\n<!-- answers tiny 1 -->\n<!-- end -->\n\n<!-- answers other -->\nOld.\n<!-- end -->\n\nEnd.\n"
TABLE = "\n| tiny | <!-- status tiny --><!-- end --> |\n| other | <!-- status other -->Old.<!-- end --> |\n"


@pytest.fixture(scope="module")
def results_page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results_page", ROOT / ".ci/results_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def findings() -> Findings:
    accuracies = {"new": [0.53, 0.55, 0.54, 0.56], "old": [0.5, 0.51, 0.5, 0.52]}
    rows = [
        {"run": run, "seed": seed, "variant": "ELU", "lr": 0.001, "status": "ok", "reason": "", "test_acc": value}
        for run, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    epochs = {
        (run, seed): pd.DataFrame({"epoch": [0, 1], "val/loss": [1.9, 1.5], "val/accuracy": [0.4, 0.5]}).assign(
            **{"train/loss": 1.8, "train/accuracy": 0.4, "train/seconds": 1.0}
        )
        for run in accuracies
        for seed in range(4)
    }
    study = Study(
        title="Tiny",
        name="tiny",
        runs={name: Run(model={"variant": "ELU"}) for name in accuracies},
        questions=[Question(ask="Is new better?", treatment="new", baseline="old", primary=True)],
        max_seeds=16,
    )
    facts = {"processor": "a machine", "torch": "2"}
    return Findings(
        study=study,
        results=pd.DataFrame(rows),
        histories=epochs,
        data_source="made-up images",
        command="lit-cifar compare --study tiny",
        environment=facts,
    )


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(figures, "DPI", 20)
    folder = tmp_path / "docs"
    write_record(findings(), folder / "results/tiny")
    (folder / "results.md").write_text(PAGE)
    (folder / "chapter11.md").write_text(CHAPTER + TABLE)
    (folder / "exercise.md").write_text("# Exercise\n")
    (folder / "students.md").write_text("# Students\n")
    (tmp_path / "README.md").write_text("<!-- list tiny 1 -->\n<!-- end -->\n")
    return folder


def test_the_page_is_what_the_records_give(results_page: ModuleType) -> None:
    assert results_page.main(["--check"]) == 0


def test_every_part_of_the_page_is_a_shipped_study() -> None:
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- record (\S+) -->", page)) <= set(shipped_studies())


def test_a_record_fills_its_part(results_page: ModuleType, docs: Path) -> None:
    assert results_page.main([], docs) == 0
    page = (docs / "results.md").read_text(encoding="utf-8")
    gains = pd.Series([0.03, 0.04, 0.04, 0.04])
    half = 3.182446 * gains.std() / 2 * 100  # Student's t with 3 degrees of freedom, at the only look's level below
    assert "| Is new better? | **yes** | +3.75 points [" in page
    assert " points | 4 seeds | test accuracy |\n" in page
    assert "confidence of 98.75 %" in page  # four of at most sixteen seeds: 1 - 0.05 / 4
    assert half < 0.8 < float(re.search(r"\+3\.75 points \[\+(\d\.\d\d)", page)[1])  # type: ignore[index]
    assert "| old | 0.001 | 4 | 50.8 % [49.2,&nbsp;52.3] |" in page
    assert "by:\n\n```\nlit-cifar compare --study tiny\n```" in page
    assert "Not yet run in full: `lit-cifar compare --study other`." in page
    assert "interim" not in page
    named = re.findall(r"\(images/results/([\w.]+)\)", page)
    assert "tiny_paired_differences.png" in named
    assert all((docs / "images/results" / name).is_file() for name in named)
    assert results_page.main(["--check"], docs) == 0


def test_a_record_gives_other_pages_its_answers(results_page: ModuleType, docs: Path) -> None:
    assert results_page.main([], docs) == 0
    page = (docs / "chapter11.md").read_text(encoding="utf-8")
    assert re.search(
        r"<!-- answers tiny 1 -->\n- Is new better\? \*\*Yes\*\*: \+3\.75 points \[\+\S+, \+\S+\] \(4 seeds\)\.\n\n"
        r"!\[.+\]\(images/results/tiny_paired_differences\.png\)\n\n"
        r"Runs, costs and figures: \[results\]\(results\.md#a-study\)\.\n<!-- end -->",
        page,
    ), page
    assert "Not yet run in full: `lit-cifar compare --study other`.\n<!-- end -->\n\nEnd." in page
    assert "| tiny | <!-- status tiny -->1 of 1 answered<!-- end --> |\n" in page
    assert "| other | <!-- status other -->not yet run in full<!-- end --> |\n" in page
    assert (docs / "../README.md").read_text(encoding="utf-8") == (
        "<!-- list tiny 1 -->\n- Is new better? **Yes**: +3.75 points [+2.40, +5.10] (4 seeds).\n<!-- end -->\n"
    )
    (docs / "chapter11.md").write_text(page.replace("+3.75", "+3.85"))
    assert results_page.main(["--check"], docs) == 1


@pytest.mark.parametrize("page", ["docs/chapter11.md", "docs/exercise.md", "README.md"])
def test_pages_show_questions_that_there_are(page: str) -> None:
    asked = re.findall(r"<!-- (?:answers|list) (\S+)(?: (\S+))? -->", (ROOT / page).read_text(encoding="utf-8"))
    assert asked
    assert {name for name, _ in asked} <= set(shipped_studies())
    for name, numbers in asked:
        questions = len(load_study(name).questions)
        assert all(1 <= int(number) <= questions for number in numbers.split(",") if number)


def test_a_changed_number_is_noticed(results_page: ModuleType, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_page, "published_figures", lambda _: [])
    results_page.main([], docs)
    page = (docs / "results.md").read_text(encoding="utf-8")
    (docs / "results.md").write_text(page.replace("50.8 %", "50.9 %"))
    assert results_page.main(["--check"], docs) == 1
    (docs / "results.md").write_text(page)
    table = docs / "results/tiny/results.csv"
    table.write_text(table.read_text().replace("0.52", "0.53"))
    assert results_page.main(["--check"], docs) == 1


def test_a_study_without_questions_has_its_runs_alone() -> None:
    asked = findings()
    text = published_text(judge_again(replace(asked, study=asked.study.model_copy(update={"questions": []}))))
    assert "| old | 0.001 | 4 | 50.8 % [49.2,&nbsp;52.3] |" in text
    assert "question" not in text
    assert "confidence" not in text


def test_a_study_without_a_part_is_an_error(results_page: ModuleType, docs: Path) -> None:
    (docs / "results.md").write_text("# Results\n")
    with pytest.raises(SystemExit, match=r"students\.md have no part <!-- record tiny --> below"):
        results_page.main([], docs)


def test_a_stopped_study_is_called_interim(
    results_page: ModuleType, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_page, "published_figures", lambda _: [])
    table = pd.read_csv(docs / "results/tiny/results.csv")
    table[table["seed"] < 2].to_csv(docs / "results/tiny/results.csv", index=False)
    results_page.main([], docs)
    assert judge_again(read_record(docs / "results/tiny")).is_interim
    assert "**An interim look at 2 seeds of at most 16.**" in (docs / "results.md").read_text(encoding="utf-8")

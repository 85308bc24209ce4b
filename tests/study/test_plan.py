"""Study files: what they mean, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_cifar.study.measures import MEASURES
from lit_cifar.study.plan import (
    Study,
    load_study,
    parse_study,
    plan_runs,
    plan_searches,
    shipped_studies,
    variants_study,
)
from lit_cifar.study.run import build_model
from lit_cifar.study.statistics import minimum_seeds
from lit_cifar.utils.errors import UserError

GOOD = """\
title: Two
seeds: 2
protocol:
  learning_rate: search
  max_epochs: 7
runs:
  plain:
    model: {variant: ELU}
  deep, one-cycle:
    model:
      variant: {class_path: SELU, init_args: {depth: 40}}
      scheduler: one_cycle
    learning_rate: 0.01
questions:
  - ask: Better?
    treatment: deep, one-cycle
    baseline: plain
quick:
  seeds: 1
  max_epochs: 2
"""


def parse(text: str) -> Study:
    return parse_study(text, source="my.yaml", name="my")


@pytest.mark.parametrize("name", shipped_studies())
def test_shipped_studies_parse_and_build(name: str) -> None:
    study = load_study(name)
    for run in study.runs.values():
        build_model(run["model"])
    assert study.quickly().seeds < study.seeds
    assert study.quickly().protocol.max_epochs < study.protocol.max_epochs
    if study.questions:
        assert study.seeds >= minimum_seeds(len(study.questions)), "with so few seeds no question can be answered"


def test_plan_goes_seed_by_seed() -> None:
    runs = plan_runs(parse(GOOD), {"source": "synthetic"})
    assert [(run.name, run.seed) for run in runs] == [
        ("plain", 0), ("deep, one-cycle", 0), ("plain", 1), ("deep, one-cycle", 1),
    ]  # fmt: skip
    assert runs[0].protocol.max_epochs == 7
    assert runs[1].protocol.learning_rate == 0.01
    assert runs[0].folder == Path("runs/plain/seed_0")
    assert len({run.fingerprint for run in runs}) == 4
    assert len({run.folder for run in runs}) == 4


def test_only_runs_that_ask_for_it_are_searched() -> None:
    searches = plan_searches(parse(GOOD), {})
    assert [search.name for search in searches] == ["plain"]
    assert searches[0].seed not in range(1000)


def test_quick_changes_the_protocol_and_the_seeds() -> None:
    study = parse(GOOD).quickly()
    assert (study.seeds, study.protocol.max_epochs, study.is_quick) == (1, 2, True)
    assert study.run_protocol("deep, one-cycle").learning_rate == 0.01


def test_variants_are_compared_with_the_first() -> None:
    study = variants_study(["ELU", "SELU", "Swish"])
    assert [(q.treatment, q.baseline) for q in study.questions] == [("SELU", "ELU"), ("Swish", "ELU")]
    assert all(question.measure in MEASURES for question in study.questions)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: 2\n", "seed: 2\n", r"my\.yaml, line 2, seed: unknown key"),
        ("seeds: 2\n", "seeds: many\n", r"my\.yaml, line 2, seeds: 'many' should be a whole number"),
        ("seeds: 2\n", "seeds: 0\n", r"my\.yaml, line 2, seeds: .* at least 1"),
        ("max_epochs: 7", "epochs: 7", r"my\.yaml, line 5, epochs: unknown key; use one of .*max_epochs"),
        ("learning_rate: 0.01", "learning_rate: 1e-2", r"line 13, learning_rate: '1e-2' should be .* 1\.0e-3"),
        ("    baseline: plain", "    baseline: other", r"line 17, baseline: there is no run 'other'"),
        ("    baseline: plain", "    measure: accuracy", r"line 15: baseline is missing"),
        ("baseline: plain\n", "baseline: plain\n    measure: speed\n", r"line 18, measure: unknown measure"),
        ("    model: {variant: ELU}", "    variant: ELU", r"line 7, plain: a run needs `model:`"),
        ("title: Two\n", "", r"my\.yaml, line 1: title is missing"),
        ("title: Two", "title: [Two", r"my\.yaml, line \d+: this is not YAML"),
    ],
)
def test_a_bad_file_gets_its_line_and_key(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(UserError, match=message):
        parse(GOOD.replace(old, new, 1))


def test_an_unknown_study_lists_the_shipped_ones() -> None:
    with pytest.raises(UserError, match="exercise8"):
        load_study("exercise9")


def test_a_wrong_model_argument_is_found_before_any_run() -> None:
    with pytest.raises(UserError, match="depth"):
        build_model({"variant": {"class_path": "SELU", "init_args": {"depth": "deep"}}})


def test_the_study_in_the_docs_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs/studies.md").read_text(encoding="utf-8")
    study = parse_study(page.split("```yaml\n")[1].split("```")[0], source="docs/studies.md", name="docs")
    for run in study.runs.values():
        build_model(run["model"])
    assert study.seeds >= minimum_seeds(len(study.questions))
    assert all(f"| `{name}`" in page for name in shipped_studies())

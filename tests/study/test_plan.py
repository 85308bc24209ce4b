"""Study files: their meaning, and the messages for mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_cifar.study.changing import change_all_runs
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.plan import PlannedRun, plan_runs, plan_searches
from lit_cifar.study.run_parts import build_model
from lit_cifar.study.runner import check_runs
from lit_cifar.study.schema import Changes, Protocol, Study
from lit_cifar.study.shipped import shipped_studies
from lit_cifar.study.study_file import load_study, parse_study
from lit_cifar.study.variants_study import variants_study
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
    check_runs(study)
    check_runs(study.quickly())
    assert study.quickly().most_seeds <= study.most_seeds
    assert study.quickly().protocol.max_epochs < study.protocol.max_epochs


@pytest.mark.parametrize("name", sorted({*shipped_studies()} - {"students"}))
def test_shipped_studies_give_every_run_the_same_chance(name: str) -> None:
    study = load_study(name)
    protocols = {run: study.run_protocol(run) for run in study.runs}
    assert len({protocol.max_epochs for protocol in protocols.values()}) == 1, "runs of different lengths are compared"
    asked_about = {"early stopping"}  # there, patience is the technique
    assert len({protocol.patience for run, protocol in protocols.items() if run not in asked_about}) == 1
    assert study.seeds == "auto"
    assert sum(question.primary for question in study.questions) == 1
    assert all(question.margin for question in study.questions)
    assert {question.treatment for question in study.questions} | {
        question.baseline for question in study.questions
    } <= set(study.runs)
    for question in study.questions:
        about_mc = (question.baseline_measure or question.measure) != question.measure
        assert about_mc or question.treatment != question.baseline


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
        ("seeds: 2\n", "seeds: many\n", r"my\.yaml, line 2, seeds: 'many' should be a valid integer"),
        ("seeds: 2\n", "seeds: 0\n", r"my\.yaml, line 2, seeds: 0 should be greater than or equal to 1"),
        ("max_epochs: 7", "epochs: 7", r"my\.yaml, line 5, epochs: unknown key; use one of .*max_epochs"),
        ("learning_rate: 0.01", "learning_rate: 1e-2", r"line 13, learning_rate: '1e-2' should be .* 1\.0e-3"),
        ("    baseline: plain", "    baseline: other", r"line 17, baseline: there is no run 'other'"),
        ("    baseline: plain", "    measure: test_nll", r"line 15, questions: baseline is missing"),
        ("baseline: plain\n", "baseline: plain\n    measure: speed\n", r"line 18, measure: unknown measure"),
        ("    model: {variant: ELU}", "    max_epochs: 3", r"line 7, plain: model is missing"),
        ("title: Two\n", "", r"my\.yaml, line 1: title is missing"),
        ("title: Two", "title: [Two", r"my\.yaml, line \d+: this is not YAML"),
        ("seeds: 2\n", "seeds: 1000000000\n", r"line 2, seeds: 1000000000 should be less than or equal to 1000"),
        ("seeds: 2\n", "seeds: 2\nseeds: 3\n", r"line 3: .* the key 'seeds' is given twice, first in line 2"),
        ("seeds: 2\n", "is_quick: true\n", r"line 2, is_quick: unknown key"),
        ("max_epochs: 7", "max_epochs: 0", r"line 5, max_epochs: 0 should be greater"),
        ("max_epochs: 7", "max_epochs: true", r"line 5, max_epochs: True should be a valid integer"),
        ("learning_rate: search", "learning_rate: find", r"line 4, .* 'find' should be a valid number or 'search'"),
        ("learning_rate: search", "learning_rate: -1", r"line 4, learning_rate: -1 should be greater than 0"),
        ("learning_rate: search", "learning_rate: .inf", r"line 4, learning_rate: inf should be a finite number"),
        ("    baseline: plain", "    baseline: plain\n    margin: -0.1", r"line 18, margin: -0.1 should be greater"),
        ("    baseline: plain", "    baseline: plain\n    margin: .nan", r"line 18, margin: nan should be a finite"),
        ("  seeds: 1\n", "  seeds: many\n", r"line 19, seeds: 'many' should be a valid integer"),
        ("  seeds: 1\n", "  seeds: 0\n", r"line 19, seeds: 0 should be greater"),
        ("  seeds: 1\n", "  seeds: -3\n", r"line 19, seeds: -3 should be greater"),
        ("  seeds: 1\n", "  seeds: 1.5\n", r"line 19, seeds: 1.5 should be a valid integer"),
        ("  seeds: 1\n", "  max_epoch: 1\n", r"line 19, max_epoch: unknown key; use one of .*max_epochs"),
        ("  plain:\n", "  Deep, one-cycle:\n", r"line 9, deep, one-cycle: .* differ only in case"),
        ("  plain:\n", '  "\\uD800":\n', r"line 7, .* should be a valid string"),
        ("  plain:\n", '  "a\\nb":\n', r"printable characters only"),
        (
            "  plain:\n    model: {variant: ELU}",
            "  plain:\n    model: {l1: 1}",
            r"line 8, model: .* at least a `variant:`",
        ),
    ],
)
def test_a_bad_file_gets_its_line_and_key(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(UserError, match=message):
        parse(GOOD.replace(old, new, 1))


def test_a_study_needs_a_run() -> None:
    with pytest.raises(UserError, match=r"my\.yaml, line 2, runs: .* at least 1"):
        parse("title: None\nruns: {}\n")


def test_a_whole_number_is_a_learning_rate() -> None:
    study = parse(GOOD.replace("learning_rate: 0.01", "learning_rate: 1"))
    rate = study.run_protocol("deep, one-cycle").learning_rate
    assert (type(rate), rate) == (float, 1.0)


def test_changes_win_over_what_runs_say() -> None:
    study = parse(GOOD).changed(Changes(learning_rate=0.5, seeds=7))
    assert [study.run_protocol(name).learning_rate for name in study.runs] == [0.5, 0.5]
    assert (study.seeds, study.protocol.max_epochs) == (7, 7)


@pytest.mark.parametrize("name", ["learning_rate: 0.01", "mc_samples: 5"])
def test_settings_of_the_protocol_below_model_are_refused(name: str) -> None:
    study = parse(f"title: x\nruns:\n  A:\n    model: {{variant: ELU, {name}}}\n")
    with pytest.raises(UserError, match=r"is a setting of the run: write it beside `model:`"):
        check_runs(study)


def test_whose_values_a_change_replaces_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    study = change_all_runs(load_study("students"), Changes(val_size=5000, patience=5))
    assert {study.run_protocol(name).val_size for name in study.runs} == {5000}
    assert capsys.readouterr().err == (
        "val_size=5000 holds for all runs, also for 'Swish', 'Swish, BN', 'Swish, BN, dropout 0.25', which had 10000.\n"
    )


def test_a_change_can_not_make_compared_runs_the_same() -> None:
    study = change_all_runs(load_study("batch-size"), Changes(batch_size=64))
    with pytest.raises(UserError, match="compares 'batches of 32' with 'batches of 128', but all their settings are"):
        check_runs(study)


def test_any_seeds_and_runs_can_be_planned() -> None:
    runs = plan_runs(parse(GOOD), {}, seeds=range(4, 6), names=["plain"])
    assert [(run.name, run.seed) for run in runs] == [("plain", 4), ("plain", 5)]


def test_runs_of_the_first_version_stay_finished() -> None:
    data = {"source": "folder", "data_dir": "small", "urls": None, "flip": False, "crop_padding": 0}
    run = PlannedRun(
        name="a",
        seed=0,
        model={"variant": {"class_path": "ELU", "init_args": {"depth": 2}}},
        data={**data, "corruption": None, "severity": 1},
        protocol=Protocol(max_epochs=2, patience=2, batch_size=30, val_size=30, mc_samples=5),
    )
    assert run.fingerprint == "78502bd0d4c9fecd"


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
        build_model(run.model)
    assert all(f"| `{name}`" in page for name in shipped_studies())


@pytest.mark.parametrize("name", shipped_studies())
def test_searched_rates_are_varied_in_full_studies_alone(name: str) -> None:
    study = load_study(name)
    searched = study.protocol.learning_rate == "search"
    assert study.sensitivity >= (4 if searched else 0)
    quick = study.quickly()
    assert (quick.sensitivity, quick.time_all_runs) == (0, False)

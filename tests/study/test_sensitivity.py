"""Answers that depend on a learning rate: made-up studies whose accuracies depend on it in a known way."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from lit_cifar.study import runner
from lit_cifar.study.engines.base import Engine, FinishedRun
from lit_cifar.study.finished import keep
from lit_cifar.study.gathering import read_findings
from lit_cifar.study.judging import judge_again
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.report.rate_figures import full_ladders
from lit_cifar.study.result import StudyResult
from lit_cifar.study.run import Report
from lit_cifar.study.schema import Question, Run, Study
from lit_cifar.study.study_data import open_data
from lit_cifar.study.terminal import answer_lines

Conduct = Callable[..., StudyResult]

BEST = {"steady": (0.55, 0.01), "touchy": (0.53, 0.05), "ELU": (0.5, 0.01)}
"""Each run's accuracy at its learning rate, and what half or twice the rate costs."""


def made_up(runs: Sequence[PlannedRun], folder: Path, report: Report) -> Iterator[FinishedRun]:
    """An engine that doesn't train: a run's accuracy is the truth at its learning rate and a seed's luck."""
    for run in runs:
        best, cost = BEST[run.name]
        rate = run.protocol.learning_rate
        assert isinstance(rate, float)
        accuracy = best - cost * abs(np.log2(rate / 0.001)) + np.random.default_rng(run.seed).normal(0, 0.001)
        row = {"run": run.name, "variant": "ELU", "seed": run.seed, "lr": rate, "batch_size": 128}
        row |= {"test_acc": accuracy + 0.001 * (run.seed % 2) * len(run.name), "val_acc": 0.5, "epochs": 1}
        row |= {"best_epoch": 1, "seconds_per_epoch": 1.0, "status": "ok", "reason": ""}
        keep(row, run, folder / run.folder)
        yield run, row, True


@pytest.fixture
def study() -> Study:
    questions = [Question(ask=f"Is {name} better?", treatment=name, baseline="ELU") for name in ("steady", "touchy")]
    runs = {name: Run(model={"variant": "ELU"}, learning_rate=0.001) for name in BEST}
    return Study(title="Made up", runs=runs, questions=questions, sensitivity=3)


@pytest.fixture
def conduct(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Conduct:
    """Run a study in the folder `s`, without its report."""
    monkeypatch.setattr(runner, "write_report", lambda *_: None)
    data, console = open_data({"source": "folder", "data_dir": str(pictures)}), Console(file=io.StringIO())

    def run(study: Study, *, engine: Engine = made_up, fresh: bool = False) -> StudyResult:
        return runner.conduct(study, data, tmp_path / "s", engine=engine, command="", console=console, fresh=fresh)

    return run


def test_an_answer_is_firm_if_it_stands_at_half_and_twice_the_rates(
    study: Study, conduct: Conduct, tmp_path: Path
) -> None:
    result = conduct(study)
    steady, touchy = result.answers
    assert steady.verdict.answer == touchy.verdict.answer == "yes"
    assert steady.firmness is not None
    assert touchy.firmness is not None
    assert (steady.firmness.firm, steady.firmness.seeds) == (True, 3)
    assert (touchy.firmness.combinations, len(touchy.firmness.fails)) == (9, 6)  # whatever ELU's rate is
    assert touchy.firmness.fails[:2] == ("half touchy's learning rate", "half touchy's and half ELU's learning rate")
    first, second = answer_lines(result)
    assert first.endswith("4 seeds, firm")
    assert second.endswith("4 seeds, not firm")
    rates = {
        path.parent.name: json.loads(path.read_text())["row"]["lr"]
        for path in (tmp_path / "s/runs/steady").rglob("result.json")
    }
    assert [rates[f"seed_0{which}"] for which in ("", "_half_rate", "_double_rate")] == [0.001, 0.0005, 0.002]
    assert "seed_3_half_rate" not in rates
    ladders = full_ladders(result)
    assert [rung["learning_rate"] for rung in ladders["touchy"]] == [0.001, 0.0005, 0.002]  # the chosen one first
    assert {len(rung["val_accuracies"]) for rung in ladders["touchy"]} == {3}
    assert set(result.results["lr"]) == {0.001}  # the repeated runs count for nothing else


def test_a_study_that_was_stopped_before_all_seeds_were_repeated_claims_nothing(
    study: Study, conduct: Conduct, tmp_path: Path
) -> None:
    conduct(study)
    assert all(answer.firmness for answer in judge_again(read_findings(tmp_path / "s")).answers)
    shutil.rmtree(tmp_path / "s/runs/touchy/seed_2_half_rate")
    steady, touchy = judge_again(read_findings(tmp_path / "s")).answers
    assert steady.firmness is not None
    assert touchy.firmness is None


def test_runs_of_answered_questions_are_repeated_with_the_seeds_that_they_have(
    study: Study, conduct: Conduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a run whose long name makes its seeds differ"
    monkeypatch.setitem(BEST, name, (0.49, 0.01))
    asked = Question(ask="Is it better?", treatment=name, baseline="ELU")
    runs = {**study.runs, name: study.runs["ELU"]}
    longer = study.model_copy(
        update={"runs": runs, "questions": [*study.questions, asked], "sensitivity": 6, "max_seeds": 6}
    )
    result = conduct(longer)
    steady, _, unsettled = result.answers
    assert (unsettled.verdict.settled, result.looks[-1].seeds) == (False, 6)
    assert len(result.results[result.results["run"] == "steady"]) == 4  # it was settled at the first look
    assert steady.firmness is not None
    assert (steady.firmness.firm, steady.firmness.seeds) == (True, 4)
    assert unsettled.firmness is None


def test_old_results_are_gone_while_a_study_is_repeated(study: Study, conduct: Conduct, tmp_path: Path) -> None:
    conduct(study)
    assert len(list((tmp_path / "s").rglob("result.json"))) == 4 * 3 + 3 * 3 * 2

    def interrupted(runs: Sequence[PlannedRun], folder: Path, report: Report) -> Iterator[FinishedRun]:
        yield from made_up(runs[:2], folder, report)
        raise KeyboardInterrupt

    changed = study.model_copy(update={"protocol": study.protocol.model_copy(update={"max_epochs": 7})})
    with pytest.raises(KeyboardInterrupt):
        conduct(changed, engine=interrupted, fresh=True)
    found = read_findings(tmp_path / "s")
    assert found.study.protocol.max_epochs == 7
    assert list(found.results["run"]) == ["steady", "touchy"]
    assert not any(len(rows) for rows, _ in found.varied.values())


def test_without_sensitivity_nothing_is_repeated_or_claimed(study: Study, conduct: Conduct, tmp_path: Path) -> None:
    plain = study.model_copy(update={"sensitivity": 0})
    result = conduct(plain)
    assert [answer.firmness for answer in result.answers] == [None, None]
    assert not list((tmp_path / "s").rglob("*_rate"))

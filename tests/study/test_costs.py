"""Costs and gains of runs."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from lit_cifar.study.costs import costs, epochs_text, reference, seconds_text
from lit_cifar.study.judging import judge_again
from lit_cifar.study.report.costs_table import costs_table
from lit_cifar.study.report.wording import how_timed
from lit_cifar.study.result import Findings, StudyResult
from lit_cifar.study.schema import Question, Run, Study

LOSSES = {
    ("old", 0): [2.0, 1.6, 1.5, 1.55],
    ("old", 1): [2.0, 1.7, 1.6],
    ("old", 2): [1.9, 1.5, 1.4],
    ("quick", 0): [1.5, 1.3],
    ("quick", 1): [1.7, 1.6],
    ("quick", 2): [1.8, 1.7, 1.3],
    ("weak", 0): [1.8, 1.7],
    ("weak", 1): [1.6, 1.5],
}


@pytest.fixture
def result() -> StudyResult:
    names = ("old", "quick", "weak")
    questions = [
        Question(ask="First?", treatment="weak", baseline="quick"),
        Question(ask="Main?", treatment="quick", baseline="old", measure="val_acc", primary=True),
    ]
    study = Study(title="", runs={name: Run(model={"variant": "ELU"}) for name in names}, questions=questions, seeds=3)
    rows = [
        {"run": run, "seed": seed, "variant": "ELU", "lr": 0.1, "status": "ok", "val_acc": 0.5, "parameters": 1234.0}
        for run, seed in LOSSES
    ]
    rows.append(
        {"run": "weak", "seed": 2, "variant": "ELU", "lr": 0.1, "status": "failed", "reason": "NonFiniteLossError: nan"}
    )
    timings = pd.DataFrame(
        [{"run": "quick", "round": r, "seconds_per_epoch": s, "cpu_share": 0.99} for r, s in enumerate([2.0, 8.0])]
    )
    found = Findings(
        study=study,
        results=pd.DataFrame(rows),
        histories={key: pd.DataFrame({"val/loss": losses}) for key, losses in LOSSES.items()},
        data_source="made up",
        command="",
        timings=timings,
    )
    return judge_again(found)


def test_epochs_to_the_baselines_lowest_loss_of_the_same_seed(result: StudyResult) -> None:
    """old gets there in its own best epoch; weak fails once and never gets there once: its median is never."""
    assert reference(result) == ("old", "val_acc")
    old, quick, weak = costs(result)
    assert (old.epochs, old.never, old.seeds) == (3, 0, 3)
    assert (quick.epochs, quick.never) == (2, 0)
    assert (weak.epochs, weak.never, weak.seeds) == (math.inf, 2, 3)
    assert (quick.parameters, quick.gain.mean) == (1234, 0.5)
    assert [epochs_text(cost) for cost in (old, quick, weak)] == ["3", "2", "never"]


@pytest.mark.parametrize("measure", ["epochs_to_reach", "seconds_per_epoch", "layers/anything"])
def test_without_a_question_about_a_score_the_gain_is_test_accuracy(result: StudyResult, measure: str) -> None:
    own = {"better": "lower", "margin": 0.1} if "/" in measure else {}
    asked = Question.model_validate({"ask": "?", "treatment": "weak", "baseline": "quick", "measure": measure, **own})
    other = replace(result, study=result.study.model_copy(update={"questions": [asked]}))
    assert reference(other) == ("quick", "test_acc")
    assert [cost.run for cost in costs(other)] == ["old", "quick", "weak"]


def test_seconds_are_those_of_runs_timed_alone(result: StudyResult) -> None:
    old, quick, _ = costs(result)
    assert quick.seconds.mean == pytest.approx(4.0)
    assert quick.seconds_to_reach == pytest.approx(8.0)
    assert [seconds_text(cost) for cost in (old, quick)] == ["–", "8.0"]
    more = pd.DataFrame([{"run": "quick", "round": number, "seconds_per_epoch": 9.0} for number in range(6, 24)])
    longer = replace(result, timings=pd.concat([result.timings, more]))
    assert costs(longer)[1].seconds.mean == pytest.approx(4.0)  # the other runs have only the first rounds
    row = [str(cell) for cell in costs_table(result).rows[2]]
    assert row == ["weak", "50.0 %", "1,234", "–", "never (2 of 3 seeds never)", "–"]


def test_the_report_says_whether_the_machine_was_quiet(result: StudyResult) -> None:
    assert how_timed(result.timings).endswith("in 2 rounds; they had 99% of a core. They are one machine's.")
    busy = replace(result, timings=result.timings.assign(cpu_share=0.6)).timings
    assert "60% of a core: other programs were at work, so the times are too long." in how_timed(busy)
    assert how_timed(pd.DataFrame()) == ""

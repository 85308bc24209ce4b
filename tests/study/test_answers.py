"""From rows to pairs: failed and missing runs, and the epochs that two runs need to get equally far."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from lit_cifar.study.answers import answer_questions, open_runs, summarize
from lit_cifar.study.looks import Look
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.paired import paired_values
from lit_cifar.study.schema import Protocol, Question, Run, Study

RUNS = {"new": Run(model={"variant": "ELU"}), "old": Run(model={"variant": "ELU"}, max_epochs=30)}


def study(*questions: Question) -> Study:
    return Study(title="", runs=RUNS, questions=questions, protocol=Protocol(max_epochs=20), seeds=3)


def row(run: str, seed: int, **values: object) -> dict[str, object]:
    return {"run": run, "variant": run, "seed": seed, "lr": 0.1, "status": "ok", "reason": "", "classes": 10, **values}


def failed(run: str, seed: int, reason: str = "NonFiniteLossError: The loss became nan") -> dict[str, object]:
    return {"run": run, "variant": run, "seed": seed, "lr": 0.1, "status": "failed", "reason": reason}


def question(measure: str = "test_acc", treatment: str = "new") -> Question:
    return Question(ask="?", treatment=treatment, baseline="old", measure=measure)


def history(*losses: float, seconds: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"val/loss": losses, "train/seconds": [seconds] * len(losses)})


RESULTS = pd.DataFrame(
    [
        *(row("old", seed, test_acc=0.5, test_nll=1.5, test_ece=0.05, test_brier=0.6) for seed in (0, 1, 2)),
        row("new", 0, test_acc=0.6, test_nll=1.2, test_ece=0.02, test_brier=0.5),
        failed("new", 1),
    ]
)


@pytest.mark.parametrize(
    ("measure", "guess"),
    [("test_acc", 0.1), ("test_nll", math.log(10)), ("test_brier", 0.9), ("test_ece", math.nan)],
)
def test_a_diverged_run_counts_as_guessing_and_a_missing_one_as_nothing(measure: str, guess: float) -> None:
    found = paired_values(question(measure), study(), 3, RESULTS, {})
    assert found.treatment == pytest.approx([RESULTS[measure][3], guess, math.nan], nan_ok=True)
    assert found.baseline == RESULTS[measure][:3].tolist()
    assert found.failed == {1}
    assert found.without_failed().treatment == pytest.approx([RESULTS[measure][3], math.nan, math.nan], nan_ok=True)


def test_rows_that_do_not_say_how_many_classes_there_are_leave_failed_runs_out() -> None:
    found = paired_values(question(), study(), 2, RESULTS.drop(columns="classes"), {})
    assert found.treatment == pytest.approx([0.6, math.nan], nan_ok=True)


def test_the_target_is_the_higher_of_the_two_lowest_losses() -> None:
    """new gets to 1.0, old only to 1.4: what counts is when each is at 1.4."""
    histories = {("new", 0): history(2.0, 1.4, 1.0), ("old", 0): history(1.9, 1.8, 1.7, 1.5, 1.4, 1.6)}
    results = RESULTS[RESULTS["seed"] == 0]
    epochs = paired_values(question("epochs_to_reach"), study(), 1, results, histories)
    assert (epochs.treatment, epochs.baseline) == ([2.0], [5.0])


TIMINGS = pd.DataFrame(
    [
        {"run": run, "round": number, "seconds_per_epoch": seconds, "test_seconds": seconds / 10}
        for run, of_run in {"new": [3.0, 3.3, 3.1], "old": [1.0, 1.1]}.items()
        for number, seconds in enumerate(of_run)
    ]
)


def test_seconds_are_compared_by_rounds_in_which_both_runs_were_timed() -> None:
    found = paired_values(question("seconds_per_epoch"), study(), 3, RESULTS, {}, TIMINGS)
    assert (found.treatment, found.baseline) == ([3.0, 3.3], [1.0, 1.1])
    against = question("seconds_per_epoch").model_copy(update={"baseline": "new", "baseline_measure": "test_seconds"})
    found = paired_values(against, study(), 3, RESULTS, {}, TIMINGS)
    assert found.baseline == pytest.approx([0.3, 0.33, 0.31])


def test_seconds_to_reach_a_loss_are_epochs_times_the_runs_own_seconds() -> None:
    """What epochs took while other runs trained beside them doesn't count; seeds take the rounds in turn."""
    rows = [row(run, seed, epochs=3) for run in ("new", "old") for seed in range(3)]
    histories = {("new", seed): history(2.0, 1.4, 1.0, seconds=100.0) for seed in range(3)}
    histories |= {("old", seed): history(1.9, 1.8, 1.4, seconds=math.nan) for seed in range(3)}
    asked = question("seconds_to_reach")
    found = paired_values(asked, study(), 3, pd.DataFrame(rows), histories, TIMINGS)
    assert found.treatment == pytest.approx([2 * 3.0, 2 * 3.3, 2 * 3.0])
    assert found.baseline == pytest.approx([3 * 1.0, 3 * 1.1, 3 * 1.0])
    whole = paired_values(question("train_seconds"), study(), 3, pd.DataFrame(rows), histories, TIMINGS)
    assert whole.treatment == pytest.approx([3 * 3.0, 3 * 3.3, 3 * 3.0])
    assert all(map(math.isnan, paired_values(asked, study(), 3, pd.DataFrame(rows), histories).treatment))


def test_questions_about_seconds_need_runs_that_were_timed_alone() -> None:
    rows = pd.DataFrame([row(run, seed, test_acc=0.5, seconds_per_epoch=1.0) for run in RUNS for seed in range(4)])
    asked = study(question("seconds_per_epoch"))
    [answer] = answer_questions(asked, rows, {}, (Look(4, 0.1),))
    assert answer.verdict.answer == "can't tell: not timed"
    assert open_runs([answer]) == set()
    times = {"old": [1.0, 1.1, 1.05], "new": [2.0, 2.1, 2.15]}
    slower = [
        {"run": run, "round": number, "seconds_per_epoch": seconds}
        for run, of_run in times.items()
        for number, seconds in enumerate(of_run)
    ]
    [answer] = answer_questions(asked, rows, {}, (Look(4, 0.1),), pd.DataFrame(slower))
    assert (answer.verdict.answer, answer.verdict.comparison.n, answer.pair) == ("no (worse)", 3, "round")
    assert answer.verdict.comparison.level == 0.95  # one look, whatever the study's looks are


@pytest.mark.parametrize(("rounds", "levels"), [(4, [0.9875]), (6, [0.9875]), (20, [0.9875]), (24, [0.9875, 0.9625])])
def test_a_study_that_goes_on_until_all_is_answered_looks_at_its_rounds_twice(rounds: int, levels: list[float]) -> None:
    rows = pd.DataFrame([row(run, seed, test_acc=0.5) for run in RUNS for seed in range(4)])
    timed = [
        {"run": run, "round": number, "seconds_per_epoch": 1 + 0.1 * (number % (3 if run == "new" else 2))}
        for run in ("old", "new")
        for number in range(rounds)
    ]
    asked = study(question("seconds_per_epoch")).model_copy(update={"seeds": "auto"})
    answers = answer_questions(asked, rows, {}, (Look(4, 0.1),), pd.DataFrame(timed))
    assert [comparison.level for comparison in answers[0].verdict.history] == pytest.approx(levels)
    assert open_runs(answers) == set()
    assert open_runs(answers, pair="round") == ({"old", "new"} if rounds < 24 else set())


def test_equal_runs_tie() -> None:
    histories = {(name, 0): history(2.0, 1.5, 1.6) for name in ("new", "old")}
    found = paired_values(question("epochs_to_reach"), study(), 1, RESULTS[RESULTS["seed"] == 0], histories)
    assert found.treatment == found.baseline == [2.0]


@pytest.mark.parametrize("measure", ["test_acc", "epochs_to_reach"])
def test_a_run_that_failed_for_another_reason_is_missing(measure: str) -> None:
    rows = RESULTS[(RESULTS["run"] != "new") | (RESULTS["seed"] != 1)]
    killed = failed("new", 1, "Its process was killed (SIGKILL), 3 times.")
    histories = {("new", 1): history(2.0), ("old", 1): history(1.9, 1.8)}
    found = paired_values(question(measure), study(), 3, pd.concat([rows, pd.DataFrame([killed])]), histories)
    assert math.isnan(found.treatment[1])
    assert (found.failed, found.left_out) == (frozenset(), {1})


def test_a_diverged_run_never_gets_there() -> None:
    histories = {("new", 1): history(2.0), ("old", 1): history(1.9, 1.8)}
    epochs = paired_values(question("epochs_to_reach"), study(), 3, RESULTS, histories)
    assert epochs.treatment == pytest.approx([math.nan, 20.0, math.nan], nan_ok=True)
    assert epochs.baseline == pytest.approx([math.nan, 2.0, math.nan], nan_ok=True)
    both = pd.DataFrame([failed("new", 0), failed("old", 0)])
    nowhere = paired_values(question("epochs_to_reach"), study(), 1, both, {})
    assert np.isnan([nowhere.treatment, nowhere.baseline]).all(), "nothing to compare"


def test_an_answer_with_diverged_runs_comes_both_ways() -> None:
    accuracies = {"new": [0.61, 0.62, 0.6, 0.61, 0.62, 0.6], "old": [0.5, 0.5, 0.49, 0.5, 0.51, 0.5]}
    rows = [row(run, seed, test_acc=value) for run, values in accuracies.items() for seed, value in enumerate(values)]
    rows[2] = failed("new", 2)
    [answer] = answer_questions(study(question()), pd.DataFrame(rows), {}, (Look(6, 1.0),))
    assert answer.verdict.comparison.mean == pytest.approx((5 * 0.11 - 0.39 - 0.0) / 6, abs=0.003)
    assert answer.verdict.answer == "can't tell yet"
    assert answer.without_failed is not None
    assert answer.without_failed.answer == "yes"
    assert open_runs([answer]) == {"new", "old"}


def test_a_margin_is_the_questions_or_the_measures() -> None:
    assert paired_values(question(), study(), 3, RESULTS, {}).pairs(question()).margin == 0.005
    own = Question(ask="?", treatment="new", baseline="old", margin=0.02)
    assert paired_values(own, study(), 3, RESULTS, {}).pairs(own).margin == 0.02
    assert all(measure.margin > 0 for measure in MEASURES.values())


def test_positive_measures_have_geometric_means_and_intervals_above_zero() -> None:
    results = pd.DataFrame(
        [row("new", seed, test_ece=ece, test_acc=ece) for seed, ece in enumerate((0.01, 0.04, 0.16))]
    )
    summary = summarize(results).iloc[0]
    assert summary["test_ece"] == pytest.approx(0.04)
    assert summary["test_acc"] == pytest.approx(0.07)
    assert 0 < summary["test_ece_low"] < 0.04
    assert summary["test_acc_low"] < 0

"""Made-up worlds whose truth is known: how often intervals hold it, how often answers are false, what seeds they cost.

`pytest -m slow -s tests/study/test_simulations.py` prints the tables of docs/studies.md.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from lit_cifar.study import runner
from lit_cifar.study.engines.base import FinishedRun
from lit_cifar.study.finished import keep
from lit_cifar.study.looks import Look, take_looks
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.run import Report
from lit_cifar.study.schema import Question, Run, Study
from lit_cifar.study.statistics import Pairs, estimate
from lit_cifar.study.study_data import open_data
from lit_cifar.study.verdicts import Answer, Asked, Verdict, judge

SD = 0.8 / math.sqrt(2)
"""The standard deviation of a run's accuracy over seeds, in points: that of a paired difference is then 0.8."""

QUESTIONS = 6
STUDIES = 300
INTERVALS = 4000


def three_errors(share: float, trials: int) -> float:
    """Three standard errors of a share."""
    return 3 * math.sqrt(share * (1 - share) / trials)


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5, 8, 10, 20])
@pytest.mark.parametrize(
    ("world", "least", "most"),
    [("normal", 0.95, 0.95), ("lognormal", 0.80, 0.90), ("lognormal, as ratios", 0.95, 0.95)],
)
def test_intervals_hold_the_true_mean(world: str, least: float, most: float, n: int) -> None:
    """A t interval of normal differences does in 95 %; of skewed ones (σ = 1) in less, unless they are ratios."""
    drawn = np.random.default_rng(n).normal(size=(INTERVALS, n))
    values = drawn if world == "normal" else np.exp(drawn)
    truth = {"normal": 0.0, "lognormal": math.exp(0.5), "lognormal, as ratios": 1.0}[world]
    found = [estimate(sample.tolist(), log="ratios" in world) for sample in values]
    covered = float(np.mean([each.low <= truth <= each.high for each in found]))
    print(f"\n{world}, {n} seeds: the 95 % interval holds the truth in {100 * covered:.1f} %")
    assert least - three_errors(least, INTERVALS) <= covered <= most + three_errors(most, INTERVALS)


class World:
    """A study of treatments that gain so many points over one shared baseline; seeds are noise."""

    def __init__(self, gains: Sequence[float], margin: float, rng: np.random.Generator, cap: int = 32) -> None:
        self.gains = gains
        self.margin = margin
        self.accuracies = SD * rng.normal(size=(len(gains) + 1, cap)) + np.asarray([0.0, *gains])[:, None]
        self.seeds = dict.fromkeys(map(str, range(len(gains))), 0)

    def train(self, runs: Collection[str], seeds: int) -> int:
        self.seeds |= dict.fromkeys(runs, seeds)
        return seeds

    def verdicts(self, looks: Sequence[Look]) -> list[Verdict]:
        asked = []
        for name, seeds in self.seeds.items():
            pairs = self.accuracies[int(name) + 1, :seeds].tolist(), self.accuracies[0, :seeds].tolist()
            asked.append(Asked(Pairs(treatment=pairs[0], baseline=pairs[1], better="higher", margin=self.margin)))
        return judge(asked, looks)

    def runs_wanted(self, looks: Sequence[Look]) -> Collection[str]:
        if not looks:
            return self.seeds.keys()
        verdicts = zip(self.seeds, self.verdicts(looks), strict=True)
        return [name for name, verdict in verdicts if not verdict.settled]

    def looked(self, looks: Sequence[Look]) -> None:
        pass

    def is_false(self, gain: float, answer: Answer) -> bool:
        if answer == "no (worse)":
            return gain >= 0
        if answer == "no (gain below the margin)":
            return gain >= self.margin
        return answer.startswith("yes") and (gain <= 0 or (answer != "yes" and gain >= self.margin))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gain", "seeds", "open_at_most"),
    [(0.0, (13, 18), 0.4), (0.5, (19, 27), 2.5), (1.0, (13, 18), 0.4), (2.0, (7, 9.5), 0.0), (3.0, (5, 7.5), 0.0)],
)
def test_seeds_and_errors_of_the_look_rule(gain: float, seeds: tuple[float, float], open_at_most: float) -> None:
    """Six questions with the same true gain, differences with an sd of 0.8 points, a margin of 1, at most 32 seeds."""
    rng = np.random.default_rng([7, int(10 * gain)])
    wrong, used, still_open, held = [], [], [], []
    for _ in range(STUDIES):
        world = World([gain] * QUESTIONS, 1.0, rng)
        verdicts = world.verdicts(take_looks(world, cap=32))
        wrong.append(any(world.is_false(gain, verdict.answer) for verdict in verdicts))
        used.append(np.mean(list(world.seeds.values())))
        still_open.append(sum(not verdict.settled for verdict in verdicts))
        held += [verdict.comparison.low <= gain <= verdict.comparison.high for verdict in verdicts]
    print(
        f"\ngain {gain}: any false answer in {100 * np.mean(wrong):.1f} % of studies, {np.mean(used):.1f} seeds, "
        f"{np.mean(still_open):.2f} of {QUESTIONS} questions open, intervals hold it in {100 * np.mean(held):.1f} %"
    )
    assert np.mean(wrong) <= 0.05 + three_errors(0.05, STUDIES)
    assert seeds[0] <= np.mean(used) <= seeds[1]
    assert np.mean(still_open) <= open_at_most
    assert np.mean(held) >= 0.95


@pytest.mark.slow
def test_looking_without_sharing_the_error_rate_would_be_wrong_too_often() -> None:
    """What the shares are for: with the whole error rate at each look, more than a tenth of answers are false."""
    rng = np.random.default_rng(8)
    looks = [Look(seeds, 1.0) for seeds in (4, 6, 8, 12, 16, 24, 32)]
    worlds = [World([0.0], 0.0, rng) for _ in range(STUDIES)]
    for world in worlds:
        world.train(world.seeds.keys(), 32)
    wrong = float(np.mean([world.verdicts(looks)[0].settled for world in worlds]))
    print(f"\nseven looks, each with the whole error rate: a false answer in {100 * wrong:.0f} % of studies")
    assert wrong > 0.1


TRUTH = {"ELU": 0.5, "two points": 0.52, "nothing": 0.5, "worse": 0.47}


def made_up(runs: Sequence[PlannedRun], folder: Path, report: Report, *, noise: float = 0.003) -> Iterator[FinishedRun]:
    """An engine that doesn't train: a run's accuracy is the truth and a seed's luck."""
    for run in runs:
        luck = np.random.default_rng([run.seed, *run.name.encode()]).normal(0, noise)
        row = {"run": run.name, "variant": "ELU", "seed": run.seed, "lr": 0.001, "batch_size": 128}
        row |= {"test_acc": TRUTH[run.name] + luck, "val_acc": 0.5, "best_epoch": 1, "epochs": 1}
        row |= {"seconds_per_epoch": 1.0, "status": "ok", "reason": ""}
        report(run.label, 1, 0.5)
        keep(row, run, folder / run.folder)
        yield run, row, True


def test_a_made_up_study_is_answered_by_its_truth(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "write_report", lambda *_: None)
    study = Study(
        title="Made up",
        runs={name: Run(model={"variant": "ELU"}) for name in TRUTH},
        questions=[
            Question(ask="A gain?", treatment="two points", baseline="ELU", primary=True),
            Question(ask="None?", treatment="nothing", baseline="ELU", margin=0.01),
            Question(ask="A loss?", treatment="worse", baseline="ELU"),
            Question(ask="As good?", treatment="nothing", baseline="ELU", margin=0.01, kind="as good"),
        ],
    )
    data = open_data({"source": "folder", "data_dir": str(pictures)})
    result = runner.conduct(
        study, data, tmp_path / "s", engine=partial(made_up), command="", console=Console(file=io.StringIO())
    )
    answers = [answer.verdict.answer for answer in result.answers]
    assert answers == ["yes", "no (gain below the margin)", "no (worse)", "yes"]
    seeds = pd.read_csv(tmp_path / "s/results.csv").groupby("run")["seed"].count()
    assert seeds["two points"] == seeds["worse"] == 4  # clear at the first look
    assert 4 < seeds["nothing"] == seeds["ELU"] < 32

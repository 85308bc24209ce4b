"""A made-up study: five runs of four networks, eight seeds, and two trainings that failed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lit_cifar.evaluation import UNCERTAINTIES, evaluate_predictions
from lit_cifar.figures import Example
from lit_cifar.lr_find.curve import read_curve
from lit_cifar.lr_find.ladder import Rung
from lit_cifar.lr_find.ladder_search import LadderSearch
from lit_cifar.lr_find.search import STEP, ConfirmRun, LearningRateSearch
from lit_cifar.study import runner
from lit_cifar.study.answers import answer_questions, summarize
from lit_cifar.study.environment import environment
from lit_cifar.study.result import StudyResult
from lit_cifar.study.schema import Protocol, Question, Study
from lit_cifar.uncertainty import sample_points
from tests.study.report_page import NAME, Page, written
from tests.study.tiny_study import STUDY

SEEDS = 8
RUNS = {  # name: variant, learning rate, final accuracy, epochs' time constant, seconds an epoch, has dropout
    "ELU": ("ELU", 3e-4, 0.48, 9.0, 2.1, False),
    "BatchNorm": ("BatchNorm", 2e-3, 0.53, 4.0, 3.9, False),
    "SELU": ("SELU", 4e-4, 0.495, 6.0, 2.2, False),
    "AlphaDropout": ("AlphaDropout", 4e-4, 0.49, 8.0, 2.6, True),
    "AlphaDropout, one-cycle": ("AlphaDropout", 6e-3, 0.51, 5.0, 2.6, True),
}
FAILED = {
    ("SELU", 3): "NonFiniteLossError: The loss became nan in epoch 2",
    ("SELU", 5): "NonFiniteLossError: The loss became inf in epoch 4",
}
CIFAR10 = "CIFAR-10 (official files)"


def make_history(final: float, speed: float, seconds: float, epochs: int, rng: np.random.Generator) -> pd.DataFrame:
    epoch = np.arange(epochs)
    accuracy = final - (final - 0.2) * np.exp(-(epoch + 1) / speed) + rng.normal(0, 0.006, epochs)
    loss = 2.9 - 2.85 * accuracy + 0.0004 * np.maximum(epoch - 2 * speed, 0) ** 2 + rng.normal(0, 0.012, epochs)
    return pd.DataFrame(
        {
            "epoch": epoch,
            "train/loss": 2.2 * np.exp(-epoch / 25),
            "train/accuracy": np.minimum(accuracy + 0.004 * epoch, 1),
            "train/seconds": seconds * rng.uniform(0.95, 1.1, epochs),
            "val/loss": loss,
            "val/accuracy": accuracy,
            **{
                f"layer_{statistic}/{layer}": np.full(epochs, value)
                for statistic, value in {"mean": 0.1, "std": 0.9, "gradient_rms": 0.01, "dead": 0.02}.items()
                for layer in ("hidden_01", "hidden_02", "output")
            },
        }
    )


def make_row(name: str, seed: int, history: pd.DataFrame, rng: np.random.Generator) -> dict[str, object]:
    variant, lr, _, _, _, dropout = RUNS[name]
    row: dict[str, object] = {"run": name, "variant": variant, "seed": seed, "lr": lr, "batch_size": 128}
    if (name, seed) in FAILED:
        return {**row, "status": "failed", "reason": FAILED[name, seed]}
    best = history.loc[history["val/loss"].idxmin()]
    accuracy, nll, ece = (
        best["val/accuracy"] - 0.004 + rng.normal(0, 0.003),
        best["val/loss"] + 0.02,
        rng.normal(0.05, 0.006),
    )
    row |= {"epochs": len(history), "best_epoch": int(best["epoch"]) + 1, "val_loss": best["val/loss"]}
    row |= {"val_acc": best["val/accuracy"], "seconds_per_epoch": history["train/seconds"].median()}
    row |= {
        "train_seconds": history["train/seconds"].sum() * 1.15,
        "test_seconds": 0.21,
        "parameters": 528_110,
        "classes": 10,
    }
    row |= {"test_acc": accuracy, "test_nll": nll, "test_ece": ece, "test_brier": 0.66}
    row["selected_by_acc_test_acc"] = history["val/accuracy"].max() - 0.006
    row |= {"dead_units": 0.02, "twin_units": 0.0, "zeros": 0.0}
    if dropout:
        row |= {"mc_test_acc": accuracy + abs(rng.normal(0.003, 0.001)), "mc_test_nll": nll - 0.03}
        row |= {"mc_test_ece": ece - 0.025, "mc_test_brier": 0.65, "mc_test_seconds": 9.4}
    return {**row, "status": "ok", "reason": "", "data_source": CIFAR10}


def make_search(lowest_at: float, rng: np.random.Generator) -> dict[str, object]:
    rates = np.logspace(-6, 1, 100)
    from_lowest = np.log10(rates / lowest_at)
    falling, exploding = 0.8 / (1 + np.exp(3 * (from_lowest + 1))), 0.4 * np.exp(2.5 * np.maximum(from_lowest - 0.5, 0))
    curve = read_curve(rates, 1.4 + falling + exploding + rng.normal(0, 0.05, len(rates)))
    runs = [
        ConfirmRun(curve.suggestion * STEP**position, 1.55 + 0.1 * abs(position - 1), 0.44)
        for position in (1, 2, 0, -1)
    ]
    search = LearningRateSearch(curve, (*runs, ConfirmRun(10.0, math.inf, 0.1)))
    rungs = [Rung(run.learning_rate, (run, ConfirmRun(run.learning_rate, 1.6, 0.42))) for run in search.confirm_runs]
    return json.loads(LadderSearch(search, rungs).to_json())


def make_evaluation(rng: np.random.Generator) -> dict[str, object]:
    """A test with MC dropout, through JSON as from a run's folder."""
    noise = torch.from_numpy(rng.normal(0, 1, (6, 200, 3)))
    labels = torch.arange(200) % 3
    logits = torch.nn.functional.one_hot(labels, 3) + noise
    mc = logits.softmax(2)
    found = {"labels": labels, "probabilities": (3 * logits[0]).softmax(1), "mc_probabilities": mc.mean(0)}
    found |= {name: torch.special.entr(mc.mean(0)).sum(1) for name in UNCERTAINTIES}
    found["mc_after"] = torch.stack([mc[:count].mean(0) for count in sample_points(6)], 1)
    return json.loads(json.dumps({"data_source": CIFAR10, **evaluate_predictions(found, mc_samples=6)}))


def make_examples() -> dict[str, list[Example]]:
    image = torch.arange(3 * 32 * 32).view(3, 32, 32).to(torch.uint8)
    right, wrong = Example(image, "cat", "cat", 0.93), Example(image, "cat", "dog", 0.41)
    return {"most certain, right": [right] * 6, "most certain, wrong": [wrong] * 2, "least certain, wrong": []}


def make_study(seeds: int = SEEDS) -> Study:
    runs = {name: {"model": {"variant": values[0]}} for name, values in RUNS.items()}
    runs["AlphaDropout, one-cycle"] = {
        "model": {"variant": "AlphaDropout", "scheduler": "one_cycle"},
        "max_epochs": 20,
        "patience": 20,
    }
    questions = [
        Question(
            ask="Does batch normalization produce a better model than ELU alone?", treatment="BatchNorm", baseline="ELU"
        ),
        Question(
            ask="Does batch normalization converge in fewer epochs (to ELU's best validation loss)?",
            treatment="BatchNorm",
            baseline="ELU",
            measure="epochs_to_reach",
        ),
        Question(ask="Does SELU produce a better model than ELU?", treatment="SELU", baseline="ELU"),
        Question(
            ask="Does alpha dropout produce a better model than BatchNorm?",
            treatment="AlphaDropout",
            baseline="BatchNorm",
        ),
        Question(
            ask="Does MC dropout do better than the same network without it?",
            treatment="AlphaDropout",
            baseline="AlphaDropout",
            measure="mc_test_acc",
            baseline_measure="test_acc",
        ),
    ]
    return Study(
        name="exercise8",
        title="What batch normalization, SELU, alpha dropout and one-cycle buy a 20×100 dense net",
        description="A deep dense network with ELU, then batch normalization, SELU, alpha dropout and one-cycle.\n",
        runs=runs,
        seeds=seeds,
        protocol=Protocol(learning_rate="search", max_epochs=60, patience=10),
        questions=questions,
        quick={"seeds": 2, "max_epochs": 8},
    )  # fmt: skip


def make_result(study: Study, data_source: str = CIFAR10) -> StudyResult:
    rng = np.random.default_rng(1)
    histories, rows = {}, []
    for name, (_, _, final, speed, seconds, _) in RUNS.items():
        for seed in range(study.seeds):
            epochs = min(study.run_protocol(name).max_epochs, int(rng.integers(3 * speed, 3 * speed + 12)))
            drawn = make_history(final + rng.normal(0, 0.005), speed, seconds, epochs, rng)
            histories[name, seed] = drawn.head(2) if (name, seed) in FAILED else drawn
            rows.append(make_row(name, seed, drawn, rng))
    results = pd.DataFrame(rows)
    return StudyResult(
        study=study,
        results=results,
        summary=summarize(results),
        answers=answer_questions(study, results, histories),
        histories=histories,
        data_source=data_source,
        command="lit-cifar compare --study exercise8 --workers 2",
        searches={name: make_search(10 * values[1], rng) for name, values in RUNS.items()},
        evaluations={(name, seed): make_evaluation(rng) for name in RUNS if RUNS[name][-1] for seed in range(2)},
        examples={"AlphaDropout": make_examples()},
        environment=environment(),
    )


@pytest.fixture(scope="session")
def study_result() -> StudyResult:
    """A full study on the official images."""
    return make_result(make_study())


@pytest.fixture(scope="session")
def quick_result() -> StudyResult:
    """The same study, quick, on synthetic images."""
    return make_result(make_study().quickly(), "synthetic shapes (CIFAR-10 is not available)")


@pytest.fixture
def arguments(workspace: Path, pictures: Path) -> list[object]:
    """The options of `compare` for the tiny study."""
    (workspace / "tiny.yaml").write_text(STUDY)
    return ["--study", "tiny.yaml", "--data.source", "folder", "--data.data_dir", pictures]


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures take longer than the tiny study."""
    monkeypatch.setattr(runner, "write_report", lambda *_: None)


@pytest.fixture(scope="module")
def folder(study_result, tmp_path_factory) -> Path:
    return written(study_result, tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def page(folder) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def markdown(folder) -> str:
    return (folder / "report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def quick_folder(quick_result, tmp_path_factory) -> Path:
    return written(quick_result, tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory) -> Path:
    """A study whose names, reasons and data are as awkward as can be, and of which every run failed."""
    question = Question(ask=f"Is {NAME} better?", treatment=NAME, baseline="ELU", margin=0.01)
    runs = {NAME: {"model": {"variant": NAME}}, "ELU": {"model": {"variant": "ELU"}, "learning_rate": 0.001}}
    study = Study(title=NAME, description=NAME, runs=runs, seeds=2, questions=[question])
    results = pd.DataFrame(
        {"run": run, "variant": run, "seed": seed, "lr": "variant", "status": "failed", "reason": f"{NAME}\nno | more"}
        for run in runs
        for seed in range(2)
    )
    histories = {(run, seed): pd.DataFrame() for run in runs for seed in range(2)}
    answers = answer_questions(study, results, histories)
    result = StudyResult(
        study=study,
        results=results,
        summary=summarize(results),
        answers=answers,
        histories=histories,
        data_source=NAME,
        command=NAME,
    )
    return written(result, tmp_path_factory.mktemp("odd"))

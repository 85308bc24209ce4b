"""The figure of accuracy over depth, for made-up results."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd

from lit_cifar.study.report.depth_figure import depth_figures, families
from lit_cifar.study.result import StudyResult
from lit_cifar.study.schema import Run
from lit_cifar.study.study_file import load_study
from lit_cifar.study.variants_study import parse_sweep, variants_study

DEPTHS = (5, 10, 20, 40, 80)


def results(names: list[str], accuracy: float = 0.5) -> pd.DataFrame:
    rows = [
        {"run": name, "seed": seed, "status": "ok", "reason": "", "classes": 10.0}
        for name in names
        for seed in range(2)
    ]
    return pd.DataFrame(rows).assign(selected_by_acc_test_acc=accuracy)


def test_the_depth_study_has_four_families() -> None:
    found = families(load_study("depth").runs)
    assert {name: tuple(by_depth) for name, by_depth in found.items()} == dict.fromkeys(
        ("plain", "BatchNorm", "SELU", "residual"), DEPTHS
    )
    assert found["SELU"][40] == "SELU 40"


def test_a_sweep_of_the_depth_is_a_family_for_each_variant() -> None:
    study = variants_study(["ELU", "SELU"], [parse_sweep("model.variant.depth=2,4")])
    assert families(study.runs) == {
        "ELU": {2: "ELU, depth=2", 4: "ELU, depth=4"},
        "SELU": {2: "SELU, depth=2", 4: "SELU, depth=4"},
    }


def run(depth: int, learning_rate: float = 1e-3, **changes: Any) -> Run:
    model = {"variant": {"class_path": "ELU", "init_args": {"depth": depth}}}
    return Run.model_validate({"model": model, "learning_rate": learning_rate, **changes})


def test_runs_that_differ_in_more_than_depth_and_learning_rate_are_no_family() -> None:
    runs = {"5": run(5), "10": run(10, 3e-4), "20, flips": run(20, data={"flip": True}), "20": run(20, batch_size=32)}
    assert families(runs) == {"ELU": {5: "5", 10: "10"}, "flips": {20: "20, flips"}, "20": {20: "20"}}


def test_the_picture_tells_its_means_and_counts_failed_runs_as_guessing(study_result: StudyResult) -> None:
    study = load_study("depth")
    found = results(list(study.runs))
    found.loc[found["run"] == "residual 80", "selected_by_acc_test_acc"] = [0.58, 0.6]
    failed = (found["run"] == "plain 80") & (found["seed"] == 1)
    found.loc[failed, ["status", "classes", "selected_by_acc_test_acc"]] = ["failed", math.nan, math.nan]
    found.loc[failed, "reason"] = "NonFiniteLossError: The loss became nan"
    (picture,) = depth_figures(replace(study_result, study=study, results=found))
    assert picture.name == "depth"
    assert "plain: 50.0 % with 5 layers, " in picture.alt
    assert "30.0 % with 80 layers. BatchNorm: " in picture.alt
    assert picture.alt.endswith("59.0 % with 80 layers.")
    assert picture.png.startswith(b"\x89PNG")


def test_studies_of_one_depth_have_no_such_picture(study_result: StudyResult) -> None:
    assert depth_figures(study_result) == []


def test_results_of_older_versions_do_not_say_how_many_classes_there_are(study_result: StudyResult) -> None:
    study = load_study("depth")
    found = results(list(study.runs)).drop(columns="classes")
    (figure,) = depth_figures(replace(study_result, study=study, results=found))
    assert "plain: 50.0 % with 5 layers, " in figure.alt

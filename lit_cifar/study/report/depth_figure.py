"""Accuracy over depth, for studies whose runs differ in the number of hidden layers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from lit_cifar import figures
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.paired import counting, guess_for
from lit_cifar.study.report.figures import report_figure
from lit_cifar.study.report.page import ReportFigure
from lit_cifar.study.result import StudyResult
from lit_cifar.study.schema import Run

Families = dict[str, dict[int, str]]

ACCURACY = "selected_by_acc_test_acc"


def depth_figures(result: StudyResult) -> list[ReportFigure]:
    """Accuracy over depth, if some runs differ only in a stated depth and perhaps in the learning rate."""
    accuracies = {
        family: {depth: found for depth, run in runs.items() if (found := _accuracies(result, run))}
        for family, runs in families(result.study.runs).items()
    }
    drawn = {family: by_depth for family, by_depth in accuracies.items() if len(by_depth) > 1}
    if not drawn:
        return []
    caption = (
        "Test accuracy of the epoch with the highest validation accuracy, by the number of hidden layers. A run whose "
        "loss became NaN counts as guessing."
    )
    alt = f"Test accuracy against depth. {' '.join(map(_in_words, drawn.items()))}"
    return [report_figure("depth", figures.accuracy_by_depth(drawn, result.data_source), alt, caption)]


def families(runs: Mapping[str, Run]) -> Families:
    """The runs that differ in their depth and learning rate alone, and in their names by the depth alone.

    Returns:
        For each family, the name of the run with each depth.
    """
    groups: dict[tuple[str, str], dict[int, str]] = {}
    for name, run in runs.items():
        variant = run.model["variant"]
        keywords = dict(variant.get("init_args", {})) if isinstance(variant, Mapping) else {}
        if (depth := keywords.pop("depth", None)) is not None:
            model = {**run.model, "variant": {**variant, "init_args": keywords}}
            settings = {key: value for key, value in run.own_settings().items() if key != "learning_rate"}
            label = _without(depth, name) or variant["class_path"].rpartition(".")[2]
            groups.setdefault((label, json.dumps([model, settings], sort_keys=True)), {})[depth] = name
    found: Families = {}
    for (label, _), by_depth in groups.items():
        found[label if label not in found else next(iter(by_depth.values()))] = by_depth
    return found


def _without(depth: int, name: str) -> str:
    """A run's name without its depth: `plain 20` and `ELU, depth=20` become `plain` and `ELU`."""
    return re.sub(rf"[\s,]*(\w+=)?\b{depth}\b", "", name).strip(" ,")


def _accuracies(result: StudyResult, run: str) -> list[float]:
    """The accuracy of each seed."""
    results = counting(result.results)
    if ACCURACY not in results:
        return []
    rows, guess = results[results["run"] == run], guess_for(MEASURES[ACCURACY], results)
    return [float(value) for value in rows[ACCURACY].where(rows["status"] == "ok", guess).dropna()]


def _in_words(family: tuple[str, Mapping[int, list[float]]]) -> str:
    label, by_depth = family
    shown = MEASURES[ACCURACY].text
    means = [f"{shown(sum(found) / len(found))} with {depth} layers" for depth, found in sorted(by_depth.items())]
    return f"{label}: {', '.join(means)}."

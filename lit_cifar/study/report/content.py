"""The report of a study: one HTML file for people, the same as Markdown for a repository page, and the figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lit_cifar.data.sources.cifar10 import CIFAR10Source
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.report.cards import answers_section
from lit_cifar.study.report.costs_table import costs_table
from lit_cifar.study.report.depth_figure import depth_figures
from lit_cifar.study.report.figures import (
    curves_figures,
    layers_figures,
    mc_figures,
    shift_figures,
    zeros_figures,
)
from lit_cifar.study.report.page import Cell, Page, Section, Table
from lit_cifar.study.report.rate_figures import rate_figures
from lit_cifar.study.report.uncertainty_figures import uncertainty_figures
from lit_cifar.study.report.wording import count, difference_cell, how_timed, how_trained, mean_cell, pairs, suggestion
from lit_cifar.study.result import StudyResult
from lit_cifar.study.statistics import Better, estimate
from lit_cifar.training.tensorboard import show_images
from lit_cifar.utils.files import replaced_when_complete, write_text

WORTH = ("test_acc", "test_nll", "test_ece", "test_brier")
MC_WORTH = tuple(f"mc_{column}" for column in WORTH)
TRAINING = ("val_loss", "val_acc", "best_epoch", "epochs")
LAYERS = ("dead_units", "twin_units", "zeros")
NO_BEST = ("epochs", "best_epoch")
MEANS = (
    "Means over seeds with their 95 % t intervals; with fewer than four seeds, the mean and the values themselves. "
    "Losses, calibration errors and seconds have geometric means. The best mean of a column is bold. Failed runs are "
    "left out here; the answers count them."
)
SELECTION = ("test_acc", "selected_by_acc_test_acc")


def write_report(result: StudyResult, folder: Path) -> None:
    """Write `report.html`, `report.md` and `figures/*.png` into a study's folder; TensorBoard shows the figures too."""
    page = _page(result)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    figures = [figure for section in page.sections for figure in section.figures]
    for figure in figures:
        with replaced_when_complete(folder / "figures" / f"{figure.name}.png") as unfinished:
            unfinished.write_bytes(figure.png)
    show_images({figure.name: figure.png for figure in figures}, folder / "figures")
    write_text(folder / "report.html", _environment(autoescape=True).get_template("report.html.j2").render(page=page))
    # what autoescape is for HTML: every value goes through it
    markdown = _environment(finalize=_escaped_markdown)
    write_text(folder / "report.md", markdown.get_template("report.md.j2").render(page=page))


def _environment(**options: Any) -> Environment:
    loader = PackageLoader("lit_cifar.study.report", "templates")
    return Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, **options)  # noqa: S701


def _escaped_markdown(value: object) -> str:
    """A value as one line of Markdown that shows just its text, in a table too; what is marked safe stays as it is."""
    return value if isinstance(value, Markup) else re.sub(r"([\\`*_\[\]<>|~$&])", r"\\\1", " ".join(str(value).split()))


def _page(result: StudyResult) -> Page:
    study = result.study
    asked = f", {count(len(study.questions), 'question')}" if study.questions else ""
    return Page(
        title=study.title,
        summary=f"{count(len(study.runs), 'run')}, {_seeds(result)}{asked}, {result.data_source}{_train_size(result)}",
        description=study.description.strip(),
        warnings=_warnings(result),
        sections=[
            *([answers_section(result)] if result.answers else []),
            _results(result),
            *_mc_dropout(result),
            _curves(result),
            _layers(result),
            *_failures(result),
            _selection(result),
            _learning_rates(result),
            _protocol(result),
            Section("How to repeat this", code=result.command, tables=[_machine(result)]),
        ],
        date=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    )


def _seeds(result: StudyResult) -> str:
    """How many seeds the runs have."""
    fewest, most = result.summary["seeds"].min(), result.summary["seeds"].max()
    return f"{count(most, 'seed')} each" if fewest == most else f"{fewest} to {most} seeds each"


def _warnings(result: StudyResult) -> list[str]:
    study = result.study
    found = []
    if result.data_source != CIFAR10Source.name:
        found.append(
            f"These images are not the official CIFAR-10 but {result.data_source}: no number here is one for CIFAR-10."
        )
    if study.is_quick:
        found.append(
            f"This is a quick run: at most {count(study.protocol.max_epochs, 'epoch')} and "
            f"{_seeds(result)}, fewer than the study asks for. Its answers hold for short trainings only."
        )
    return found


def _results(result: StudyResult) -> Section:
    sampled = [column for column in MC_WORTH if column in result.summary]
    tables = [_summary_table(result, "Test images, one pass without dropout", WORTH)]
    if sampled:
        tables.append(_summary_table(result, "Test images, mean of MC samples", sampled))
    tables += [_summary_table(result, "Training", TRAINING), costs_table(result)]
    figures = [*depth_figures(result), *shift_figures(result)]
    text = MEANS + how_trained(result.results) + how_timed(result.first_timings)
    return Section("Results", text=text, tables=tables, figures=figures)


def _mc_dropout(result: StudyResult) -> list[Section]:
    figures = [*mc_figures(result), *uncertainty_figures(result)]
    text = (
        "Every network with dropout is tested twice, without training it further: by one pass without dropout, and by "
        "the mean of many passes with it (MC dropout)."
    )
    kept = sum(evaluation["mc_samples"] > 0 for evaluation in result.evaluations.values())
    if figures and 0 < kept < (tested := result.results["mc_test_acc"].notna().sum()):
        text += f" Curves are those of {kept} of the {tested} networks: an earlier version of lit_cifar did the others."
    return [Section("MC dropout", text=text, figures=figures)] if figures else []


def _summary_table(result: StudyResult, caption: str, columns: Sequence[str]) -> Table:
    """A row for each run that has values in one of the columns; failed runs have none."""
    shown = [column for column in columns if column in result.summary]
    rows = []
    for row in result.summary.dropna(subset=shown, how="all").to_dict("records"):
        values = result.results[result.results["run"] == row["run"]]
        failed = f"({row['failed']} failed)" if row["failed"] else ""
        measured = [mean_cell(MEASURES[column], values[column].tolist()) for column in shown]
        rows.append([Cell(row["run"]), Cell(str(row["seeds"]), failed, row["seeds"]), *measured])
    for place, column in enumerate(shown, 2):
        if column not in NO_BEST:
            _mark_best(rows, place, MEASURES[column].better)
    return Table(caption, ["run", "seeds", *(MEASURES[column].label for column in shown)], rows)


def _mark_best(rows: list[list[Cell]], column: int, better: Better) -> None:
    values = [row[column].value for row in rows]
    known = [value for value in values if value is not None]
    if len(set(known)) > 1:
        best = max(known) if better == "higher" else min(known)
        for row, value in zip(rows, values, strict=True):
            row[column] = replace(row[column], best=value == best)


def _curves(result: StudyResult) -> Section:
    figures = curves_figures(result)
    return Section("Learning curves", text="" if figures else "No run has finished.", figures=figures)


def _layers(result: StudyResult) -> Section:
    figures = layers_figures(result)
    if not figures:
        return Section("Layers", text="No layer statistics were kept.")
    table = _summary_table(result, "Means over hidden layers, best epoch", LAYERS)
    return Section("Layers", tables=[table], figures=[*figures, *zeros_figures(result)])


def _failures(result: StudyResult) -> list[Section]:
    failed = result.results[result.results["status"] != "ok"]
    rows = [
        [Cell(row["run"]), Cell(str(row["seed"]), value=row["seed"]), Cell(row["reason"])]
        for row in failed.to_dict("records")
    ]
    caption = f"{count(len(rows), 'failed run')} of {len(result.results)}"
    table = Table(caption, ["run", "seed", "reason"], rows)
    return [Section("Failed runs", tables=[table])] if rows else []


def _selection(result: StudyResult) -> Section:
    ok = result.results[result.results["status"] == "ok"]
    if not set(SELECTION) <= set(ok):
        return Section("Which epoch", text="No run has finished.")
    accuracy, rows = MEASURES["test_acc"], []
    for name, group in ok.groupby("run", sort=False):
        by_loss, by_accuracy = (group[column] for column in SELECTION)
        means = [mean_cell(accuracy, values.tolist()) for values in (by_loss, by_accuracy)]
        difference = estimate((by_accuracy - by_loss).tolist())
        shown = difference_cell(accuracy, difference.mean, difference.low, difference.high)
        rows.append([Cell(str(name)), *means, shown])
    header = ["run", "epoch of the lowest validation loss", "epoch of the highest validation accuracy", "difference"]
    caption = "Test accuracy of the weights of either epoch"
    text = "Everything else here is about the epoch of the lowest validation loss. This is what the other choice gives."
    return Section("Which epoch", text=text, tables=[Table(caption, header, rows)])


def _learning_rates(result: StudyResult) -> Section:
    rows = []
    for name in result.study.runs:
        rates = pd.to_numeric(result.results.loc[result.results["run"] == name, "lr"], errors="coerce").dropna()
        cell = Cell(f"{rates.iloc[0]:.2g}", value=rates.iloc[0]) if len(rates) else Cell("–")
        rows.append([Cell(name), cell, Cell(_chosen_by(result, name))])
    table = Table("Learning rates used", ["run", "learning rate", "chosen by"], rows)
    return Section("Learning rates", tables=[table], figures=rate_figures(result))


def _chosen_by(result: StudyResult, run: str) -> str:
    if run not in result.searches:
        return "the variant's own" if result.study.run_protocol(run).learning_rate == "variant" else "given"
    search = result.searches[run]
    short_runs = len(search.get("confirm_runs", ()))
    return f"a search: {suggestion(search)}; {count(short_runs, 'short run')} decided"


def _train_size(result: StudyResult) -> str:
    """How many training images there are, where that isn't all."""
    size = result.study.protocol.train_size
    return f", {size:,} training images" if size else ""


def _protocol(result: StudyResult) -> Section:
    study = result.study
    text = (
        "A seed decides the validation images (a stratified part of the training images), the first weights and the "
        "order of the training images: the same for every run. A run stops when its validation loss hasn't fallen for "
        "some epochs (patience) and keeps its best epoch. Each network is tested once, after "
        "everything about it is chosen."
    )
    seeds = f"until every question is answered, at most {study.most_seeds}" if study.seeds == "auto" else study.seeds
    settings = [[Cell("seeds"), Cell(str(seeds))]]
    settings += [[Cell(key), Cell(str(value))] for key, value in study.protocol.model_dump().items()]
    runs = [
        [Cell(name), Cell(pairs(run.model)), Cell(pairs(run.own_settings()) or "–")] for name, run in study.runs.items()
    ]
    tables = [
        Table("Settings of all runs", ["setting", "value"], settings, sortable=False),
        Table("Runs", ["run", "model", "settings of its own"], runs, sortable=False),
    ]
    return Section("Protocol", text=text, tables=tables)


def _machine(result: StudyResult) -> Table:
    rows = [[Cell(what), Cell(which)] for what, which in result.environment.items()]
    return Table("The machine", ["part", "what it is"], rows, sortable=False)

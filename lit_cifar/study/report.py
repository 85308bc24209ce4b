"""The report of a study: one HTML file for people, the same as Markdown for a repository page, and the figures."""

from __future__ import annotations

import base64
import importlib.metadata
import io
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

import lit_cifar
from lit_cifar import figures
from lit_cifar.corruptions import CORRUPTIONS, SEVERITIES
from lit_cifar.files import replaced_when_complete, write_text
from lit_cifar.sources.cifar10 import CIFAR10Source
from lit_cifar.study.answers import Answer, paired_values
from lit_cifar.study.measures import MEASURES, Measure
from lit_cifar.study.plan import Protocol
from lit_cifar.study.result import StudyResult
from lit_cifar.study.statistics import VERDICT_RULE, Comparison, Estimate, estimate

DPI = 150
PNG_COLORS = 128
"""Enough for lines and bands, and a third of the bytes of true colour."""

WORTH = ("test_acc", "test_nll", "test_ece", "test_brier", "test_seconds")
MC_WORTH = tuple(f"mc_{column}" for column in WORTH)
TRAINING = ("val_loss", "val_acc", "best_epoch", "epochs", "seconds_per_epoch", "train_seconds")
LAYERS = ("dead_units", "twin_units", "zeros")
SELECTION = ("test_acc", "selected_by_acc_test_acc")


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, a smaller note, and the number it sorts by if it is one."""

    text: str
    note: str = ""
    value: float | None = None

    def __str__(self) -> str:
        return f"{self.text} {self.note}".strip()


@dataclass(frozen=True)
class Table:
    """A table; the first cell of each row is the row's name."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = True


@dataclass(frozen=True)
class Picture:
    """A figure as PNG, with words for those who can't see it (`alt`) and for those who can (`caption`)."""

    name: str
    png: bytes
    alt: str
    caption: str

    @property
    def data_uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Card:
    """A question, its verdict, and the figures behind it by their names."""

    ask: str
    verdict: str
    facts: Sequence[tuple[str, Cell]]
    note: str


@dataclass(frozen=True)
class Section:
    """A part of the report: whatever it has of these, in this order."""

    title: str
    cards: Sequence[Card] = ()
    text: str = ""
    code: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Page:
    """All that a report says; the templates only arrange it."""

    title: str
    summary: str
    description: str
    warnings: Sequence[str]
    sections: Sequence[Section]
    date: str


def write_report(result: StudyResult, folder: Path) -> None:
    """Write `report.html`, `report.md` and `figures/*.png` into a study's folder."""
    page = _page(result)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for picture in (picture for section in page.sections for picture in section.pictures):
        with replaced_when_complete(folder / "figures" / f"{picture.name}.png") as unfinished:
            unfinished.write_bytes(picture.png)
    write_text(folder / "report.html", _environment(autoescape=True).get_template("report.html.j2").render(page=page))
    # what autoescape is for HTML: every value goes through it
    markdown = _environment(finalize=_escaped_markdown)
    write_text(folder / "report.md", markdown.get_template("report.md.j2").render(page=page))


def _environment(**options: Any) -> Environment:
    loader = PackageLoader("lit_cifar.study", "templates")
    return Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, **options)  # noqa: S701


def _escaped_markdown(value: object) -> str:
    """A value as one line of Markdown that shows just its text, in a table too; what is marked safe stays as it is."""
    return value if isinstance(value, Markup) else re.sub(r"([\\`*_\[\]<>|~$&])", r"\\\1", " ".join(str(value).split()))


def _page(result: StudyResult) -> Page:
    study = result.study
    asked = f", {_count(len(study.questions), 'question')}" if study.questions else ""
    return Page(
        title=study.title,
        summary=f"{_count(len(study.runs), 'run')}, {_count(study.seeds, 'seed')} each{asked}, {result.data_source}",
        description=study.description.strip(),
        warnings=_warnings(result),
        sections=[
            *([_answers(result)] if result.answers else []),
            _results(result),
            _curves(result),
            _layers(result),
            _failures(result),
            _selection(result),
            _learning_rates(result),
            _protocol(result),
            Section("How to repeat this", code=result.command, tables=[_machine()]),
        ],
        date=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    )


def _warnings(result: StudyResult) -> list[str]:
    study = result.study
    found = []
    if result.data_source != CIFAR10Source.name:
        found.append(
            f"These images are not the official CIFAR-10 but {result.data_source}: no number here is one for CIFAR-10."
        )
    if study.is_quick:
        found.append(
            f"This is a quick run: at most {_count(study.protocol.max_epochs, 'epoch')} and "
            f"{_count(study.seeds, 'seed')}, fewer than the study asks for. Its networks are hardly trained and its "
            "verdicts are mostly “can't tell”."
        )
    needed = max((answer.verdict.seeds_needed for answer in result.answers), default=0)
    if study.seeds < needed:
        found.append(
            f"With {_count(study.seeds, 'seed')} no difference, however large, is a “yes” or a “no”: a study of "
            f"{_count(len(result.answers), 'question')} needs at least {needed} seeds for that."
        )
    return found


def _answers(result: StudyResult) -> Section:
    cards = [_card(answer) for answer in result.answers]
    return Section("Answers", cards=cards, text=f"The rule. {VERDICT_RULE}", pictures=[_differences_picture(result)])


def _card(answer: Answer) -> Card:
    question, comparison, measure = answer.question, answer.verdict.comparison, answer.measure
    facts = [
        (f"{question.treatment}: {measure.label}", _mean(measure, *_bounds(answer.treatment))),
        (
            f"{question.baseline}: {_baseline_measure(answer).label}",
            _mean(_baseline_measure(answer), *_bounds(answer.baseline)),
        ),
        ("difference", _difference(measure, *_bounds(comparison))),
        ("corrected p", Cell(_p(answer.verdict.adjusted_p), f"({_count(comparison.n, 'pair')} of runs)")),
    ]
    return Card(question.ask, answer.verdict.answer, facts, _note(answer))


def _note(answer: Answer) -> str:
    """What else there is to know about an answer."""
    verdict, comparison = answer.verdict, answer.verdict.comparison
    notes = [f"{comparison.better.capitalize()} is better."]
    if comparison.margin:
        gain = _signed(answer.measure, comparison.margin).lstrip("+")
        notes.append(f"The smallest gain worth having is {gain}{_unit(answer.measure)}.")
    if str(verdict) != verdict.answer:
        notes.append(f"{str(verdict).capitalize()}.")
    if comparison.dropped:
        notes.append(f"{_count(comparison.dropped, 'pair')} with a failed run left out.")
    if comparison.interval == "all equal":
        notes.append("All pairs have the same difference.")
    return " ".join(notes)


def _results(result: StudyResult) -> Section:
    everything, sampled = result.summary, [column for column in MC_WORTH if column in result.summary]
    tables = [_summary_table(everything, "Test images, one pass without dropout", WORTH, result.data_source)]
    if sampled:
        with_dropout = everything.dropna(subset=sampled, how="all")
        tables.append(_summary_table(with_dropout, "Test images, mean of MC samples", sampled, result.data_source))
    caption = "Training; seconds depend on the machine and on what else it does"
    tables.append(_summary_table(everything, caption, TRAINING, result.data_source))
    return Section("Results", tables=tables, pictures=[*_mc_pictures(result), *_shift_pictures(result)])


def _summary_table(summary: pd.DataFrame, caption: str, columns: Sequence[str], data_source: str) -> Table:
    shown = [column for column in columns if column in summary]
    rows = []
    for row in summary.to_dict("records"):
        failed = f"({row['failed']} failed)" if row["failed"] else ""
        measured = [_mean(MEASURES[c], row[c], row[f"{c}_low"], row[f"{c}_high"]) for c in shown]
        rows.append([Cell(row["run"]), Cell(str(row["seeds"]), failed, row["seeds"]), *measured])
    header = ["run", "seeds", *(MEASURES[column].label for column in shown)]
    return Table(f"{caption}: mean over seeds [95 % interval], {data_source}", header, rows)


def _curves(result: StudyResult) -> Section:
    kept = _finished(result)
    if not kept:
        return Section("Learning curves", text="No run has finished.")
    drawn = figures.learning_curves(kept, result.data_source, runs=list(result.study.runs))
    caption = (
        "Validation loss and accuracy over epochs and over seconds of training (validation not counted). A run's mean "
        "and its band, from the lowest to the highest seed, go as far as all its seeds train; the seeds that train on "
        "are drawn one by one."
    )
    if len(kept) < len(result.histories):
        caption += " Failed runs are left out."
    return Section("Learning curves", pictures=[_picture(result, "learning_curves", drawn, _curves_alt(kept), caption)])


def _finished(result: StudyResult) -> dict[tuple[str, int], pd.DataFrame]:
    """The epochs of the runs that didn't fail."""
    failed = result.results[result.results["status"] != "ok"]
    left_out = set(zip(failed["run"], failed["seed"], strict=True))
    return {key: epochs for key, epochs in result.histories.items() if key not in left_out and not epochs.empty}


def _layers(result: StudyResult) -> Section:
    kept = {
        key: epochs for key, epochs in _finished(result).items() if epochs.columns.str.startswith("layer_mean/").any()
    }
    if not kept:
        return Section("Layers", text="No layer statistics were kept.")
    drawn = figures.layers_by_depth(kept, result.data_source, runs=list(result.study.runs))
    caption = (
        "Each layer's output for 500 validation images, and its gradient in the epoch's last step. A net that "
        "normalizes itself keeps mean 0 and standard deviation 1; where gradients vanish, layers near the input learn "
        "little."
    )
    pictures = [_picture(result, "layers", drawn, _layers_alt(result), caption), *_zeros_picture(result)]
    table = _summary_table(result.summary, "Means over hidden layers, best epoch", LAYERS, result.data_source)
    return Section("Layers", tables=[table], pictures=pictures)


def _layers_alt(result: StudyResult) -> str:
    rows, dead = result.summary.to_dict("records"), MEASURES["dead_units"]
    parts = [f"{row['run']}: {dead.text(row['dead_units'])} of units dead." for row in rows]
    return f"Four charts of mean, standard deviation, gradient norm and dead units by layer. {' '.join(parts)}"


def _zeros_picture(result: StudyResult) -> list[Picture]:
    if not result.results["zeros"].max() > 0:
        return []
    drawn = figures.accuracy_by_zeros(result.results, result.data_source, runs=list(result.study.runs))
    zeros, accuracy = MEASURES["zeros"], MEASURES["test_acc"]
    parts = [
        f"{row['run']}: {zeros.text(row['zeros'])} zeros, accuracy {accuracy.text(row['test_acc'])}."
        for row in result.summary.to_dict("records")
    ]
    caption = "Each small point is a seed, each diamond a run's mean."
    return [_picture(result, "zeros", drawn, f"Accuracy over the share of zeros. {' '.join(parts)}", caption)]


def _curves_alt(histories: Mapping[tuple[str, int], pd.DataFrame]) -> str:
    parts = []
    for name in dict.fromkeys(name for name, _ in histories):
        seeds = [epochs for (run, _), epochs in histories.items() if run == name]
        common = min(map(len, seeds))
        mean = pd.concat([epochs.head(common) for epochs in seeds]).groupby("epoch").mean()
        loss, accuracy, seconds = (mean[column].to_numpy() for column in ("val/loss", "val/accuracy", "train/seconds"))
        parts.append(
            f"{name}: lowest mean loss {loss.min():.3f} in epoch {loss.argmin() + 1}, after "
            f"{seconds[: loss.argmin() + 1].sum():.0f} seconds; highest mean accuracy {100 * accuracy.max():.1f} % in "
            f"epoch {accuracy.argmax() + 1}."
        )
    return f"Four line charts of validation loss and accuracy over epochs and seconds. {' '.join(parts)}"


def _failures(result: StudyResult) -> Section:
    failed = result.results[result.results["status"] != "ok"]
    if failed.empty:
        return Section("Failed runs", text=f"None of {len(result.results)}.")
    rows = [
        [Cell(row["run"]), Cell(str(row["seed"]), value=row["seed"]), Cell(row["reason"])]
        for row in failed.to_dict("records")
    ]
    caption = f"{_count(len(rows), 'failed run')} of {len(result.results)}, {result.data_source}"
    return Section("Failed runs", tables=[Table(caption, ["run", "seed", "reason"], rows)])


def _selection(result: StudyResult) -> Section:
    ok = result.results[result.results["status"] == "ok"]
    if not set(SELECTION) <= set(ok):
        return Section("Which epoch", text="No run has finished.")
    accuracy, rows = MEASURES["test_acc"], []
    for name, group in ok.groupby("run", sort=False):
        by_loss, by_accuracy = (group[column] for column in SELECTION)
        means = [_mean(accuracy, *_bounds(estimate(values.tolist()))) for values in (by_loss, by_accuracy)]
        difference = _difference(accuracy, *_bounds(estimate((by_accuracy - by_loss).tolist())))
        rows.append([Cell(str(name)), *means, difference])
    header = ["run", "epoch of the lowest validation loss", "epoch of the highest validation accuracy", "difference"]
    caption = f"Test accuracy of the weights of either epoch: mean over seeds [95 % interval], {result.data_source}"
    text = "Everything else here is about the epoch of the lowest validation loss. This is what the other choice gives."
    return Section("Which epoch", text=text, tables=[Table(caption, header, rows)])


def _learning_rates(result: StudyResult) -> Section:
    rows = []
    for name in result.study.runs:
        rates = pd.to_numeric(result.results.loc[result.results["run"] == name, "lr"], errors="coerce").dropna()
        cell = Cell(f"{rates.iloc[0]:.2g}", value=rates.iloc[0]) if len(rates) else Cell("–")
        rows.append([Cell(name), cell, Cell(_chosen_by(result, name))])
    table = Table(f"Learning rates used, {result.data_source}", ["run", "learning rate", "chosen by"], rows)
    return Section("Learning rates", tables=[table], pictures=_search_pictures(result))


def _chosen_by(result: StudyResult, run: str) -> str:
    if run not in result.searches:
        return "the variant's own" if result.study.run_protocol(run).learning_rate == "variant" else "given"
    search = result.searches[run]
    short_runs = len(search.get("confirm_runs", ()))
    return f"a search: the range test suggests {search['suggestion']:.2g}; {_count(short_runs, 'short run')} decided"


def _protocol(result: StudyResult) -> Section:
    study = result.study
    text = (
        "A seed decides the validation images (a stratified part of the training images), the first weights and the "
        "order of the training images: the same for every run. A run stops when its validation loss hasn't fallen for "
        "some epochs (patience) and keeps its best epoch. The test images are read once, after everything is chosen."
    )
    settings = [[Cell("seeds"), Cell(str(study.seeds))]]
    settings += [[Cell(f.name), Cell(str(getattr(study.protocol, f.name)))] for f in fields(Protocol)]
    runs = [
        [Cell(name), Cell(_pairs(run["model"])), Cell(_pairs({key: run[key] for key in run if key != "model"}) or "–")]
        for name, run in study.runs.items()
    ]
    tables = [
        Table(f"Settings of all runs, {result.data_source}", ["setting", "value"], settings, sortable=False),
        Table(f"Runs, {result.data_source}", ["run", "model", "settings of its own"], runs, sortable=False),
    ]
    return Section("Protocol", text=text, tables=tables)


def _machine() -> Table:
    facts = {
        "processor": f"{_processor()}, {_count(os.cpu_count() or 1, 'core')}",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("torch", "lightning")},
        "lit_cifar": lit_cifar.__version__,
    }
    rows = [[Cell(what), Cell(which)] for what, which in facts.items()]
    return Table("The machine that wrote this report", ["part", "what it is"], rows, sortable=False)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text(encoding="utf-8")) if cpuinfo.is_file() else None
    return found[1] if found else platform.processor() or platform.machine()


def _differences_picture(result: StudyResult) -> Picture:
    questions = [_paired_difference(answer, result) for answer in result.answers]
    alt = " ".join(
        f"Q{number}, {question.label}: {_difference(answer.measure, *_bounds(answer.verdict.comparison))}, "
        f"{question.verdict}."
        for number, (question, answer) in enumerate(zip(questions, result.answers, strict=True), 1)
    )
    caption = (
        "Treatment minus baseline: each pair of runs with the same seed (dots), their mean (diamond) and its 95 % "
        "interval (bar). What is to the right of zero is better."
    )
    drawn = figures.paired_differences(questions, result.data_source)
    return _picture(result, "paired_differences", drawn, f"Paired differences with 95 % intervals. {alt}", caption)


def _paired_difference(answer: Answer, result: StudyResult) -> figures.PairedDifference:
    question, comparison, measure = answer.question, answer.verdict.comparison, answer.measure
    treatment, baseline = paired_values(question, result.study.seeds, result.results, result.histories)
    scale, unit = (100, " (percentage points)") if measure.percent else (1, "")
    label = f"{question.treatment} against {question.baseline}"
    if question.treatment == question.baseline:
        label = f"{question.treatment}: {measure.label} against {_baseline_measure(answer).label}"
    return figures.PairedDifference(
        label=label,
        unit=f"{measure.label}{unit}",
        better=comparison.better,
        mean=scale * comparison.difference,
        low=scale * comparison.low,
        high=scale * comparison.high,
        differences=[scale * (one - other) for one, other in zip(treatment, baseline, strict=True)],
        verdict=answer.verdict.answer,
    )


def _mc_pictures(result: StudyResult) -> list[Picture]:
    columns = ["test_acc", "mc_test_acc", "test_ece", "mc_test_ece"]
    if not set(columns) <= set(result.results) or result.results[columns].dropna().empty:
        return []
    means = result.results.dropna(subset=columns).groupby("run", sort=False)[columns].mean()
    alt = " ".join(
        f"{run}: accuracy {100 * row.test_acc:.1f} % without MC dropout and {100 * row.mc_test_acc:.1f} % with it, "
        f"ECE {row.test_ece:.3f} and {row.mc_test_ece:.3f}."
        for run, row in means.iterrows()
    )
    caption = "Accuracy and expected calibration error of one pass without dropout and of the mean of the MC samples."
    drawn = figures.accuracy_and_calibration_mc(result.results, result.data_source, runs=list(result.study.runs))
    return [_picture(result, "mc_dropout", drawn, f"Two slope charts. {alt}", caption)]


def _shift_pictures(result: StudyResult) -> list[Picture]:
    results, last = result.results, f"severity_{SEVERITIES[-1]}_acc"
    if f"test_{last}" not in results:
        return []
    means = results.dropna(subset=[f"test_{last}"]).groupby("run", sort=False)[["test_acc", f"test_{last}"]].mean()
    alt = " ".join(
        f"{run}: accuracy falls from {100 * clean:.1f} % to {100 * corrupted:.1f} % at severity {SEVERITIES[-1]}."
        for run, (clean, corrupted) in means.iterrows()
    )
    caption = (
        "Scores on corrupted test images, over how much they are corrupted (0: not at all): means over seeds and over "
        f"{', '.join(CORRUPTIONS)}. Solid: one pass without dropout; dashed: mean of the MC samples."
    )
    drawn = figures.scores_by_severity(results, result.data_source, runs=list(result.study.runs))
    return [_picture(result, "shift", drawn, f"Three line charts over the severity of corruption. {alt}", caption)]


def _search_pictures(result: StudyResult) -> list[Picture]:
    if not result.searches:
        return []
    alt = " ".join(
        f"{name}: the smoothed loss falls from {search['smoothed'][0]:.2f} to {min(search['smoothed']):.2f}; the range "
        f"test suggests {search['suggestion']:.2g}."
        for name, search in result.searches.items()
    )
    caption = (
        "Range tests: the loss of each training batch while the learning rate rises (dots), smoothed (line), and the "
        "learning rate this suggests (dashed). Squares: the validation loss of a short run; the best (filled) decides."
    )
    drawn = figures.learning_rate_curves(result.searches, result.data_source, runs=list(result.study.runs))
    return [_picture(result, "learning_rates", drawn, f"Loss over learning rate. {alt}", caption)]


def _picture(result: StudyResult, name: str, figure: Figure, alt: str, caption: str) -> Picture:
    true_color, small = io.BytesIO(), io.BytesIO()
    figure.savefig(true_color, dpi=DPI, format="png")
    with Image.open(true_color) as image:
        image.convert("RGB").quantize(PNG_COLORS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return Picture(
        name, small.getvalue(), f"{alt} Data: {result.data_source}.", f"{caption} Data: {result.data_source}."
    )


def _baseline_measure(answer: Answer) -> Measure:
    return MEASURES[answer.question.baseline_measure or answer.question.measure]


def _bounds(of: Estimate | Comparison) -> tuple[float, float, float]:
    """The mean, or mean difference, and its interval."""
    return of.mean if isinstance(of, Estimate) else of.difference, of.low, of.high


def _mean(measure: Measure, mean: float, low: float, high: float) -> Cell:
    interval = f"[{measure.text(low)}, {measure.text(high)}]".replace(" %", "")
    return Cell(measure.text(mean), interval if low == low else "", mean if mean == mean else None)


def _difference(measure: Measure, mean: float, low: float, high: float) -> Cell:
    if mean != mean:
        return Cell("–")
    interval = f"[{_signed(measure, low)}, {_signed(measure, high)}]" if low == low else ""
    return Cell(f"{_signed(measure, mean)}{_unit(measure)}", interval, mean)


def _signed(measure: Measure, value: float) -> str:
    text = f"{100 * value:+.2f}" if measure.percent else f"{value:+.{max(measure.digits, 1)}f}"
    return text.replace("-", "−")


def _unit(measure: Measure) -> str:
    """The unit of a difference: of percentages it is in points."""
    return " points" if measure.percent else ""


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _count(number: int, of: str) -> str:
    return f"{number} {of}{'' if number == 1 else 's'}"


def _pairs(mapping: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in mapping.items())

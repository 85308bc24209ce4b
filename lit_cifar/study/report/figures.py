"""The figures of a report, with alternative texts."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from lit_cifar import figures
from lit_cifar.data.corruptions import CORRUPTIONS, SEVERITIES
from lit_cifar.figures.comparisons import means_by_run
from lit_cifar.study.answers import Answer
from lit_cifar.study.measures import MEASURES, Measure
from lit_cifar.study.report.page import ReportFigure
from lit_cifar.study.report.wording import effect_cell
from lit_cifar.study.result import StudyResult
from lit_cifar.study.statistics import Threshold, mean_and_interval

DPI = 150
PNG_COLORS = 128
"""Colors of a figure's palette: enough for lines and bands, with a third of the bytes of true color."""


def differences_figure(result: StudyResult) -> ReportFigure:
    """The paired differences of all questions."""
    questions = [_paired_difference(answer) for answer in result.answers]
    alt = " ".join(
        f"Q{number}, {question.label}: {effect_cell(answer.measure, answer.verdict.comparison)}, {question.verdict}."
        for number, (question, answer) in enumerate(zip(questions, result.answers, strict=True), 1)
    )
    caption = (
        "Treatment minus baseline, or divided by it (×): each pair of runs with the same seed or round (dots), their "
        "mean (diamond), its interval at the last look (bar), and the margin, the smallest gain that matters (dotted). "
        "To the right of the line is better."
    )
    drawn = figures.paired_differences(questions, result.data_source)
    return report_figure("paired_differences", drawn, f"Paired differences with their intervals. {alt}", caption)


def _paired_difference(answer: Answer) -> figures.PairedDifference:
    question, comparison, measure = answer.question, answer.verdict.comparison, answer.measure
    pairs = answer.values.pairs(question)
    label = f"{question.treatment} against {question.baseline}"
    if question.treatment == question.baseline:
        baseline = answer.baseline_measure.label
        is_mc = measure.label in (f"MC {baseline}", f"{baseline} by MC dropout")
        compared = "MC against one pass" if is_mc else f"{measure.label} against {baseline}"
        label = f"{question.treatment}: {compared}"
    elif question.kind == "as good":
        label += " (as\N{NO-BREAK SPACE}good?)"
    unit, shown = _axis(measure)
    side: Threshold = -1 if question.kind == "as good" else 1
    gain = pairs.margin_as_gain(side)
    margin = shown(gain if measure.better == "higher" else -gain) if math.isfinite(gain) else math.nan
    mean, low, high = mean_and_interval(pairs.differences(), comparison.level)
    return figures.PairedDifference(
        label=label,
        unit=unit,
        better=measure.better,
        mean=shown(mean),
        low=shown(low),
        high=shown(high),
        differences=[shown(difference) for difference in pairs.differences()],
        verdict=answer.verdict.answer,
        margin=margin,
        scale=measure.scale,
    )


def _axis(measure: Measure) -> tuple[str, Callable[[float], float]]:
    """The unit of a measure's paired differences, and a function that converts differences (or log ratios) to it."""
    if measure.scale == "ratio":
        return f"{measure.label} (ratio)", math.exp
    if measure.percent:
        return f"{measure.label} (percentage points)", lambda difference: 100 * difference
    return measure.label, lambda difference: difference


def shrinking_figures(result: StudyResult) -> list[ReportFigure]:
    """The intervals at each look, if there was more than one look."""
    if len(result.looks) < 2:
        return []
    by_seeds = [(number, answer) for number, answer in enumerate(result.answers, 1) if answer.by_seeds]
    if not by_seeds:
        return []
    questions = [_shrinking(number, answer) for number, answer in by_seeds]
    drawn = figures.shrinking_intervals(questions, result.data_source)
    alt = " ".join(
        f"{question.label}: from [{question.low[0]:.2f}, {question.high[0]:.2f}] with {question.seeds[0]} seeds to "
        f"[{question.low[-1]:.2f}, {question.high[-1]:.2f}] with {question.seeds[-1]}."
        for question in questions
        if question.seeds
    )
    caption = (
        "The difference of each question with its interval at every look (line: no effect; dotted: the margin). "
        "Together, the intervals of all looks have a confidence of 95 %. A question that is answered gets no more "
        "seeds."
    )
    return [report_figure("shrinking_intervals", drawn, f"Intervals by number of seeds. {alt}", caption)]


def _shrinking(number: int, answer: Answer) -> figures.ShrinkingInterval:
    final, history = _paired_difference(answer), [c for c in answer.verdict.history if math.isfinite(c.low)]
    _, shown = _axis(answer.measure)
    unit = "ratio" if answer.measure.scale == "ratio" else "points" if answer.measure.percent else "difference"
    scaled = math.log if answer.measure.scale == "ratio" else float
    return figures.ShrinkingInterval(
        label=f"Q{number}: {final.label}",
        unit=unit,
        seeds=[comparison.n for comparison in history],
        mean=[shown(scaled(comparison.mean)) for comparison in history],
        low=[shown(scaled(comparison.low)) for comparison in history],
        high=[shown(scaled(comparison.high)) for comparison in history],
        verdict=answer.verdict.answer,
        margin=final.margin,
        scale=final.scale,
    )


def mc_figures(result: StudyResult) -> list[ReportFigure]:
    """Accuracy and ECE without and with MC dropout, if a run has it."""
    columns = ["test_acc", "mc_test_acc", "test_ece", "mc_test_ece"]
    if not set(columns) <= set(result.results) or result.results[columns].dropna().empty:
        return []
    means = means_by_run(result.results.dropna(subset=columns), columns)
    alt = " ".join(
        f"{run}: accuracy {100 * row.test_acc:.1f} % without MC dropout and {100 * row.mc_test_acc:.1f} % with it, "
        f"ECE {row.test_ece:.3f} and {row.mc_test_ece:.3f}."
        for run, row in means.iterrows()
    )
    caption = "Accuracy and expected calibration error of one pass without dropout and of the mean of the MC samples."
    drawn = figures.accuracy_and_calibration_mc(result.results, result.data_source, runs=list(result.study.runs))
    return [report_figure("mc_dropout", drawn, f"Two slope charts. {alt}", caption)]


def shift_figures(result: StudyResult) -> list[ReportFigure]:
    """Scores over the severity of corruption, if the study measures them."""
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
    return [report_figure("shift", drawn, f"Three line charts over the severity of corruption. {alt}", caption)]


def curves_figures(result: StudyResult) -> list[ReportFigure]:
    """The learning curves, if a run has finished."""
    kept = result.finished_histories
    if not kept:
        return []
    drawn = figures.learning_curves(kept, result.data_source, runs=list(result.study.runs))
    caption = (
        "Validation loss and accuracy over epochs and over seconds of training (without validation; runs that trained "
        "side by side slowed each other down). A run's mean and the range of its seeds end when its first seed "
        "stops; the other seeds are then drawn one by one."
    )
    if len(kept) < len(result.histories):
        caption += " Failed runs are left out."
    return [report_figure("learning_curves", drawn, _curves_alt(kept), caption)]


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


def layers_figures(result: StudyResult) -> list[ReportFigure]:
    """Activations and gradients by depth, for runs with statistics of their layers."""
    histories = result.finished_histories.items()
    kept = {key: epochs for key, epochs in histories if epochs.columns.str.startswith("layer_mean/").any()}
    if not kept:
        return []
    drawn = figures.layers_by_depth(kept, result.data_source, runs=list(result.study.runs))
    caption = (
        "Each layer's output for 500 validation images, and its gradient in the epoch's last step, as the root mean "
        "square over the layer's weights. A net that normalizes itself keeps mean 0 and standard deviation 1; where "
        "gradients vanish, layers near the input learn little. A unit is dead if its output hardly differs between "
        "images."
    )
    return [report_figure("layers", drawn, _layers_alt(result), caption)]


def _layers_alt(result: StudyResult) -> str:
    rows, dead = result.summary.to_dict("records"), MEASURES["dead_units"]
    parts = [f"{row['run']}: {dead.text(row['dead_units'])} of units dead." for row in rows]
    return f"Four charts of mean, standard deviation, gradient and dead units by layer. {' '.join(parts)}"


def zeros_figures(result: StudyResult) -> list[ReportFigure]:
    """Accuracy over the share of zeros, if any run has zeros."""
    if "zeros" not in result.results or not result.results["zeros"].max() > 0:
        return []
    drawn = figures.accuracy_by_zeros(result.results, result.data_source, runs=list(result.study.runs))
    zeros, accuracy = MEASURES["zeros"], MEASURES["test_acc"]
    parts = [
        f"{row['run']}: {zeros.text(row['zeros'])} zeros, accuracy {accuracy.text(row['test_acc'])}."
        for row in result.summary.to_dict("records")
    ]
    caption = "Each small point is a seed, each diamond a run's mean."
    return [report_figure("zeros", drawn, f"Accuracy over the share of zeros. {' '.join(parts)}", caption)]


def report_figure(name: str, figure: Figure, alt: str, caption: str, *, photographs: bool = False) -> ReportFigure:
    """A figure as a small PNG file."""
    true_color = io.BytesIO()
    figure.savefig(true_color, dpi=DPI, format="png")
    with Image.open(true_color) as image:
        png = _fewer_colors(image.convert("RGB"), photographs=photographs)
    return ReportFigure(name, png, alt, caption, photographs)


def _fewer_colors(image: Image.Image, *, photographs: bool) -> bytes:
    """The image as PNG with a palette, or, for photographs, with 64 shades each of red, green and blue."""
    small = io.BytesIO()
    if photographs:
        fewer = image.point([round((shade // 4) * 255 / 63) for shade in range(256)] * 3)
    else:
        fewer = image.quantize(PNG_COLORS, dither=Image.Dither.NONE)
    fewer.save(small, "PNG", optimize=True)
    return small.getvalue()

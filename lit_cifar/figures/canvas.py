"""What all figures share: size, colors, title, legend and ticks."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#B8860B", "#000000")
"""Okabe and Ito's color-blind safe palette, without yellow, which is hard to see on white."""

LineStyle = Literal["-", "--", ":", "-."]
LINES: tuple[LineStyle, ...] = ("-", "--", ":", "-.")
"""Line styles. When all colors are used, they start again with the next style."""

GOOD, BAD, NEUTRAL = "#00734F", "#B34700", "#5A5A5A"
VERDICT_COLORS = {
    "yes": GOOD,
    "yes, but less than the margin": GOOD,
    "no (gain below the margin)": BAD,
    "no (worse)": BAD,
    "can't tell yet": NEUTRAL,
    "can't tell: not timed": NEUTRAL,
}

WIDTH = 6.2
"""Inches. With text of 11 points, the figure is legible at the width of a phone."""


Floats = npt.NDArray[np.float64]


class Style(TypedDict):
    """The style of a line, as arguments for matplotlib."""

    color: str
    linestyle: LineStyle


def new_figure(
    title: str, data_source: str, rows: int, columns: int, height: float, **subplots: Any
) -> tuple[Figure, npt.NDArray[Any]]:
    """A white figure with axes [rows, columns] and a title that names the data source."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, **subplots)
    lines = [title, *textwrap.wrap(data_source, 58)]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=12, weight="bold")
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#DDDDDD", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=10)
        ax.xaxis.label.set_size(11)
        ax.yaxis.label.set_size(11)
    return figure, axes


def show_image(ax: Axes, image: npt.NDArray[np.uint8]) -> None:
    """Show a uint8 image [C, H, W], in color or grey."""
    channels_last = np.moveaxis(np.asarray(image), 0, -1)
    ax.imshow(np.repeat(channels_last, 3 // channels_last.shape[-1], axis=-1), interpolation="nearest")


def run_styles(runs: Iterable[str], shown: Iterable[str]) -> dict[str, Style]:
    """The color and line style of each run that is shown. They depend on the order of all runs."""
    order, wanted = list(dict.fromkeys([*runs, *shown])), set(shown)
    return {
        name: Style(color=COLORS[index % len(COLORS)], linestyle=LINES[index // len(COLORS) % len(LINES)])
        for index, name in enumerate(order)
        if name in wanted
    }


def offsets(runs: Iterable[str], width: float) -> dict[str, float]:
    """Shifts along x, up to half of this width to either side, so that no run hides another one of the same values."""
    names = list(runs)
    places = np.linspace(-width / 2, width / 2, len(names)) if len(names) > 1 else np.zeros(len(names))
    return dict(zip(names, places.tolist(), strict=True))


def nested_widths(curves: Iterable[str]) -> dict[str, float]:
    """Line widths in drawing order, from wide to narrow: where curves are equal, the wider ones show on both sides."""
    names = list(curves)
    return {name: 1.5 + 2.0 * after for name, after in zip(names, reversed(range(len(names))), strict=True)}


def thick_line(style: Style) -> dict[str, Any]:
    """A run's entry in a legend."""
    return {**style, "linewidth": 3}


def with_legend(
    figure: Figure,
    styles: Mapping[str, Style],
    note: str = "",
    *,
    look: Callable[[Style], Mapping[str, Any]] = thick_line,
) -> Figure:
    """Add a legend of the runs below the axes."""
    handles = [Line2D([], [], **look(style)) for style in styles.values()]
    labels = [shortened(name, 60) for name in styles]
    longest = max(map(len, labels))
    columns = 3 if longest < 20 else 2 if longest <= 30 else 1
    legend = figure.legend(
        handles,
        [""] * len(labels),
        title=note,
        loc="outside lower left",
        alignment="left",
        ncols=columns,
        frameon=False,
        title_fontsize=9.5,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)  # not above: a legend leaves out labels that start with an underscore
    figure.set_figheight(figure.get_figheight() + 0.22 * -(-len(labels) // columns))
    return plain(figure)


def seeds_by_run(histories: Mapping[tuple[str, int], pd.DataFrame]) -> dict[str, list[pd.DataFrame]]:
    """The tables of epochs of each run, one per seed. Runs without any are left out."""
    by_run: dict[str, list[pd.DataFrame]] = {}
    for (name, _), history in histories.items():
        if not history.empty:
            by_run.setdefault(name, []).append(history)
    return by_run


def mean_and_range(ax: Axes, x: Floats, seeds: Floats, style: Style, *, width: float = 2, **line: Any) -> None:
    """Draw the mean over seeds of values [seeds, points] as a line, and their range as a band."""
    ax.fill_between(x, seeds.min(axis=0), seeds.max(axis=0), color=style["color"], alpha=0.18, linewidth=0)
    ax.plot(x, seeds.mean(axis=0), **style, linewidth=width, **line)


def shortened(text: str, width: int) -> str:
    """The text, cut to `width` characters."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def plain(figure: Figure) -> Figure:
    """Escape dollar signs in the user's names; matplotlib would read them as mathematics."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    return figure


def percent(value: float, _: object) -> str:
    """The label of a tick: a share in percent."""
    return f"{100 * value:.4g} %"


def log_x(ax: Axes) -> None:
    """Make the x-axis logarithmic."""
    ax.set_xscale("log")
    log_ticks(ax.xaxis)


def whole_ticks(axis: Axis) -> None:
    """Label whole numbers only, even if there is just one."""
    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers. Call this when everything is drawn."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,), numticks=6))
    axis.set_major_formatter(FuncFormatter(_number))
    axis.set_minor_formatter(NullFormatter())


def ratio_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with ratios, 1 among them. Call this when everything is drawn."""
    low, high = sorted(axis.get_view_interval())
    if high < 4 * low:
        ticks = MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(low, high)
    else:
        ticks = LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,), numticks=6).tick_values(low, high)
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_major_formatter(FuncFormatter(_ratio))
    axis.set_minor_locator(NullLocator())


def _ratio(value: float, _: object) -> str:
    return f"× {value:.4g}"


def _number(value: float, _: object) -> str:
    return f"{value:g}"

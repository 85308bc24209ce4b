"""The measures that studies compare: columns of `results.csv` with their names, scales and margins."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from lit_cifar.data.corruptions import SEVERITIES
from lit_cifar.study.statistics import Better, Scale

Guess = Callable[[int], float]
"""The score of a network that gives all classes the same probability."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One measure of a run.

    Args:
        label: Its name for people.
        better: Which direction is better.
        margin: The smallest difference that matters, unless a question says otherwise.
        relative: The margin is a share, not a number of units.
        scale: `ratio` for positive measures: means are geometric and runs are compared by their ratio.
        percent: Shown in percent.
        unit: The unit of its differences, if not points of percent.
        digits: Digits after the point.
        guess: Value of a diverged run; None leaves the run out.
        timed: Set for seconds, which are compared only if runs were timed alone: `rounds` by the rounds; `epochs` by
            the seeds, each with its epochs times the run's seconds per epoch in a round.
    """

    label: str
    better: Better
    margin: float
    relative: bool = False
    scale: Scale = "difference"
    percent: bool = False
    unit: str = ""
    digits: int = 3
    guess: Guess | None = None
    timed: Literal["rounds", "epochs"] | None = None

    def text(self, value: float) -> str:
        """The value for people; a dash where there is none."""
        if value != value:
            return "–"
        return f"{100 * value:.1f} %" if self.percent else f"{value:.{self.digits}f}"


def _accuracy(label: str, margin: float = 0.005) -> Measure:
    return Measure(label=label, better="higher", margin=margin, percent=True, guess=lambda classes: 1 / classes)


def _share(label: str, better: Better) -> Measure:
    return Measure(label=label, better=better, margin=0.01, percent=True)


def _nll(label: str) -> Measure:
    return Measure(label=label, better="lower", margin=0.02, scale="ratio", guess=math.log)


def _ece(label: str) -> Measure:
    return Measure(label=label, better="lower", margin=0.01, scale="ratio")


def _brier(label: str) -> Measure:
    return Measure(label=label, better="lower", margin=0.01, scale="ratio", guess=lambda classes: 1 - 1 / classes)


def _epochs(label: str, digits: int = 0) -> Measure:
    return Measure(label=label, better="lower", margin=1, unit="epochs", digits=digits)


def _seconds(label: str, timed: Literal["rounds", "epochs"], digits: int = 2) -> Measure:
    return Measure(label=label, better="lower", margin=0.05, relative=True, scale="ratio", digits=digits, timed=timed)


def is_logged(column: str) -> bool:
    """Whether a column has what a callback or a loss has logged, such as `train/loss_decay`."""
    return "/" in column


class _Measures(dict[str, Measure]):
    """The measures by their columns. Whatever was logged is a measure, too; its question says what is better."""

    def __missing__(self, column: str) -> Measure:
        if not is_logged(column):
            raise KeyError(column)
        return Measure(label=column, better="lower", margin=0.0)


MEASURES: dict[str, Measure] = _Measures(
    {
        "test_acc": _accuracy("test accuracy"),
        "test_nll": _nll("test NLL"),
        "test_ece": _ece("test ECE"),
        "test_brier": _brier("test Brier score"),
        "val_loss": _nll("best validation loss"),
        "val_acc": _accuracy("validation accuracy"),
        "epochs": _epochs("epochs"),
        "best_epoch": _epochs("best epoch"),
        "epochs_to_reach": _epochs("epochs to the higher of the two lowest validation losses", digits=1),
        "seconds_to_reach": _seconds("seconds to the higher of the two lowest validation losses", "epochs", digits=1),
        "seconds_per_epoch": _seconds("seconds per epoch", "rounds"),
        "train_seconds": _seconds("training seconds", "epochs", digits=1),
        "selected_by_acc_test_acc": _accuracy("test accuracy, epoch chosen by validation accuracy"),
        "mc_test_acc": _accuracy("MC test accuracy", margin=0.0025),
        "mc_test_nll": _nll("MC test NLL"),
        "mc_test_ece": _ece("MC test ECE"),
        "mc_test_brier": _brier("MC test Brier score"),
        "dead_units": _share("dead units", "lower"),
        "twin_units": _share("units that do what another does", "lower"),
        "zeros": _share("weights that are zero", "higher"),
        "test_seconds": _seconds("seconds to label 10,000 images", "rounds"),
        "mc_test_seconds": _seconds("seconds to label 10,000 images by MC dropout", "rounds"),
    }
)
"""Every measure by its column. `epochs_to_reach` and `seconds_to_reach` depend on both runs of a question."""

MEASURES |= {
    column.replace("test", f"test_severity_{severity}"): replace(
        MEASURES[column], label=f"{MEASURES[column].label}, severity {severity}"
    )
    for column in ("test_acc", "test_nll", "test_ece", "mc_test_acc", "mc_test_nll", "mc_test_ece")
    for severity in SEVERITIES
}
"""On corrupted test images: means over all corruptions."""

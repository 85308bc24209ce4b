"""The figures of a run that studies compare: columns of `results.csv`, with their names for people."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lit_cifar.data.corruptions import SEVERITIES
from lit_cifar.study.statistics import Better


@dataclass(frozen=True)
class Measure:
    """A figure: its label, which direction is better, and how to print it (accuracies in percent)."""

    label: str
    better: Better
    percent: bool = False
    digits: int = 3

    def text(self, value: float) -> str:
        """The value for people; a dash where there is none."""
        if value != value:
            return "–"
        return f"{100 * value:.1f} %" if self.percent else f"{value:.{self.digits}f}"


MEASURES: dict[str, Measure] = {
    "test_acc": Measure("test accuracy", "higher", percent=True),
    "test_nll": Measure("test NLL", "lower"),
    "test_ece": Measure("test ECE", "lower"),
    "test_brier": Measure("test Brier score", "lower"),
    "val_loss": Measure("best validation loss", "lower"),
    "val_acc": Measure("validation accuracy", "higher", percent=True),
    "epochs": Measure("epochs", "lower", digits=0),
    "best_epoch": Measure("best epoch", "lower", digits=0),
    "epochs_to_reach": Measure("epochs to the baseline's best validation loss", "lower", digits=1),
    "seconds_to_reach": Measure("seconds to the baseline's best validation loss", "lower", digits=1),
    "seconds_per_epoch": Measure("seconds per epoch", "lower", digits=2),
    "train_seconds": Measure("training seconds", "lower", digits=1),
    "selected_by_acc_test_acc": Measure("test accuracy, epoch chosen by validation accuracy", "higher", percent=True),
    "mc_test_acc": Measure("MC test accuracy", "higher", percent=True),
    "mc_test_nll": Measure("MC test NLL", "lower"),
    "mc_test_ece": Measure("MC test ECE", "lower"),
    "mc_test_brier": Measure("MC test Brier score", "lower"),
    "dead_units": Measure("dead units", "lower", percent=True),
    "twin_units": Measure("units that do what another does", "lower", percent=True),
    "zeros": Measure("weights that are zero", "higher", percent=True),
    "test_seconds": Measure("seconds to label the test set", "lower", digits=2),
    "mc_test_seconds": Measure("seconds to label the test set by MC dropout", "lower", digits=2),
}
"""Every measure by its column. `epochs_to_reach` and `seconds_to_reach` depend on a question's baseline."""

_ON_CORRUPTED = {
    column.replace("test", f"test_severity_{severity}"): replace(
        MEASURES[column], label=f"{MEASURES[column].label}, severity {severity}"
    )
    for column in ("test_acc", "test_nll", "test_ece", "mc_test_acc", "mc_test_nll", "mc_test_ece")
    for severity in SEVERITIES
}
MEASURES |= _ON_CORRUPTED
"""On corrupted test images; means over all corruptions."""

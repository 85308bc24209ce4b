"""The figures of TensorBoard and of the reports.

Each function takes data and returns a matplotlib `Figure`. It uses no display and no global state, so figures can be
drawn in any thread. Every title names the data source. Runs have the same colors in all figures that are given the same
`runs`. Tensors must be on the CPU.
"""

from lit_cifar.figures.canvas import COLORS, VERDICT_COLORS
from lit_cifar.figures.classes import class_accuracy, confusion_matrix, worst_errors
from lit_cifar.figures.comparisons import accuracy_and_calibration_mc, accuracy_by_zeros, scores_by_severity
from lit_cifar.figures.depth import accuracy_by_depth
from lit_cifar.figures.differences import PairedDifference, ShrinkingInterval, paired_differences, shrinking_intervals
from lit_cifar.figures.layers import PROFILES, layer_statistics, layers_by_depth
from lit_cifar.figures.training import accuracy_by_learning_rate, learning_curves, learning_rate_curves
from lit_cifar.figures.uncertainty import (
    Example,
    Panels,
    RiskCurve,
    accuracy_by_samples,
    examples,
    reliability_diagram,
    risk_coverage,
)

__all__ = [
    "COLORS",
    "PROFILES",
    "VERDICT_COLORS",
    "Example",
    "PairedDifference",
    "Panels",
    "RiskCurve",
    "ShrinkingInterval",
    "accuracy_and_calibration_mc",
    "accuracy_by_depth",
    "accuracy_by_learning_rate",
    "accuracy_by_samples",
    "accuracy_by_zeros",
    "class_accuracy",
    "confusion_matrix",
    "examples",
    "layer_statistics",
    "layers_by_depth",
    "learning_curves",
    "learning_rate_curves",
    "paired_differences",
    "reliability_diagram",
    "risk_coverage",
    "scores_by_severity",
    "shrinking_intervals",
    "worst_errors",
]

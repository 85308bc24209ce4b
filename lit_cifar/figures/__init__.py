"""Every picture, once: TensorBoard and the report call the same functions.

Each takes data and gives a matplotlib `Figure` that belongs to no window and to no global state, so any thread can draw
it, on machines without a display too. Every title names the data source. Runs have the same colours in every figure
that is given the same `runs`. Tensors must be on the CPU.
"""

from lit_cifar.figures.canvas import COLORS, VERDICT_COLORS
from lit_cifar.figures.classes import class_accuracy, confusion_matrix, worst_errors
from lit_cifar.figures.comparisons import (
    PairedDifference,
    ShrinkingInterval,
    accuracy_and_calibration_mc,
    accuracy_by_zeros,
    paired_differences,
    scores_by_severity,
    shrinking_intervals,
)
from lit_cifar.figures.depth import accuracy_by_depth
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

"""Monte Carlo dropout and what its probabilities are worth, for any torch network with dropout layers."""

from lit_cifar.uncertainty.calibration import (
    Reliability,
    accuracy,
    aurc,
    brier,
    detection_auroc,
    evaluate,
    expected_calibration_error,
    nll,
    reliability,
    risk_coverage,
)
from lit_cifar.uncertainty.dropout import (
    Draw,
    Masks,
    SeededMasks,
    Switch,
    active_dropout,
    dropout_layers,
    masked_dropout,
)
from lit_cifar.uncertainty.prediction import MCPrediction, SampleCurve, mc_predict, sample_curve, sample_points
from lit_cifar.uncertainty.sampling import MEMORY_BUDGET, Piece, chain, sampled_logits

__all__ = [
    "MEMORY_BUDGET",
    "Draw",
    "MCPrediction",
    "Masks",
    "Piece",
    "Reliability",
    "SampleCurve",
    "SeededMasks",
    "Switch",
    "accuracy",
    "active_dropout",
    "aurc",
    "brier",
    "chain",
    "detection_auroc",
    "dropout_layers",
    "evaluate",
    "expected_calibration_error",
    "masked_dropout",
    "mc_predict",
    "nll",
    "reliability",
    "risk_coverage",
    "sample_curve",
    "sample_points",
    "sampled_logits",
]

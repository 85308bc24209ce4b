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
from lit_cifar.uncertainty.dropout import declare_stochastic, dropout_layers, masked_dropout, not_sampled
from lit_cifar.uncertainty.masks import Draw, Masks, SeededMasks
from lit_cifar.uncertainty.planning import MEMORY_BUDGET, chain
from lit_cifar.uncertainty.prediction import (
    MCPrediction,
    SampleCurve,
    can_be_sampled,
    mc_predict,
    sample_curve,
    sample_points,
)
from lit_cifar.uncertainty.sampling import Piece, sampled_logits
from lit_cifar.uncertainty.switch import Switch

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
    "aurc",
    "brier",
    "can_be_sampled",
    "chain",
    "declare_stochastic",
    "detection_auroc",
    "dropout_layers",
    "evaluate",
    "expected_calibration_error",
    "masked_dropout",
    "mc_predict",
    "nll",
    "not_sampled",
    "reliability",
    "risk_coverage",
    "sample_curve",
    "sample_points",
    "sampled_logits",
]

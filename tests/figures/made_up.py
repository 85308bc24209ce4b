"""Made-up results, and what a figure shows."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from lit_cifar import figures
from lit_cifar.figures import Example, PairedDifference, RiskCurve, ShrinkingInterval
from lit_cifar.uncertainty import SampleCurve, aurc, risk_coverage

SOURCE = "CIFAR-10 (official files)"


def history(val_loss: list[float], seconds: float = 2.0) -> pd.DataFrame:
    epochs = len(val_loss)
    return pd.DataFrame(
        {
            "epoch": range(epochs),
            "train/seconds": [seconds] * epochs,
            "val/loss": val_loss,
            "val/accuracy": [0.1 * (epoch + 1) for epoch in range(epochs)],
        }
    )


HISTORIES = {
    ("ELU", 0): history([2.0, 1.8, 1.6]),
    ("ELU", 1): history([2.2, 2.0, 1.8, 1.7, 1.9]),
    ("SELU", 0): history([1.9, 1.7], seconds=3.0),
    ("SELU", 1): pd.DataFrame(),
}
SEARCH = {
    "learning_rates": [1e-4, 1e-3, 1e-2, 1e-1],
    "losses": [2.3, 2.0, 1.9, 50.0],
    "smoothed": [2.3, 2.1, 1.9, 30.0],
    "suggestion": 2e-3,
    "confirm_runs": [
        {"learning_rate": 6e-3, "val_loss": 1.6},
        {"learning_rate": 2e-3, "val_loss": 1.7},
        {"learning_rate": 2e-2, "val_loss": None},
    ],
    "learning_rate": 6e-3,
}
LADDER = [
    {"learning_rate": 2e-3, "val_losses": [1.5, 1.6], "val_accuracies": [0.44, 0.48]},
    {"learning_rate": 1e-3, "val_losses": [1.7, None], "val_accuracies": [0.4, 0.1]},
]
RANGE_TEST = {key: SEARCH[key] for key in ("learning_rates", "losses", "smoothed")} | {"suggestion": None}
DIFFERENCES = [
    PairedDifference("A against B", "accuracy", "higher", 2.0, 1.0, 3.0, [1.0, 3.0, float("nan")], "yes"),
    PairedDifference("C against B", "epochs", "lower", -4.0, -6.0, -2.0, [-2.0, -6.0], "no (worse)", -1.0),
    PairedDifference("D against B", "accuracy", "higher", -5.0, float("nan"), float("nan"), [-5.0], "can't tell yet"),
]
SHRINKING = [
    ShrinkingInterval(
        "Q1: A against $B", "points", [4, 6, 8], [2.0, 1.5, 1.6], [-1, 0.5, 1.1], [5, 2.5, 2.1], "yes", 0.5
    ),
    ShrinkingInterval("Q2: no pairs", "points", [], [], [], [], "can't tell yet", float("inf")),
]
RESULTS = pd.DataFrame(
    {
        "run": ["ELU", "Dropout", "Dropout"],
        "test_acc": [0.5, 0.4, 0.5],
        "mc_test_acc": [np.nan, 0.42, 0.52],
        "test_ece": [0.1, 0.1, 0.08],
        "mc_test_ece": [np.nan, 0.02, 0.04],
    }
)

LOGITS = torch.randn(500, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(500) % 10
PROBABILITIES = LOGITS.softmax(1)
IMAGES = torch.zeros(500, 3, 8, 8, dtype=torch.uint8)
SAMPLES = SampleCurve((1, 10, 100), (0.4, 0.45, 0.46), (1.7, 1.6, 1.55))
BETTER = SampleCurve((1, 10, 100), (0.6, 0.65, 0.66), (1.5, 1.4, 1.35))


def risk_curve(probabilities: torch.Tensor) -> RiskCurve:
    return RiskCurve(*risk_coverage(probabilities, LABELS), aurc(probabilities, LABELS))


ZEROS = pd.DataFrame({"run": ["dense", "pruned", "pruned"], "zeros": [0.0, 0.9, 0.9], "test_acc": [0.5, 0.4, 0.5]})
SEVERITIES = pd.DataFrame(
    {
        "run": ["plain", "dropout", "dropout"],
        **{f"test_{score}": [0.5, 0.6, 0.4] for score in ("acc", "nll", "ece")},
        **{f"test_severity_{n}_{score}": [0.1 * n] * 3 for n in range(1, 6) for score in ("acc", "nll", "ece")},
        **{f"mc_test_{score}": [np.nan, 0.7, 0.7] for score in ("acc", "nll", "ece")},
        **{f"mc_test_severity_{n}_{score}": [np.nan, n, n] for n in range(1, 6) for score in ("acc", "nll", "ece")},
    }
)

LAYERS = {
    (name, 0): history([2.0, 1.8, 1.9]).assign(
        **{f"{profile}/{layer}": [9.0, value, 9.0] for profile in figures.PROFILES for layer in ("hidden_01", "output")}
    )
    for name, value in (("ELU", 0.5), ("SELU", 1.0))
}
BY_DEPTH = {"plain": {40: [0.3, 0.5], 5: [0.5, 0.52]}, "$skips": {5: [0.5], 10: [0.6]}}
RIGHT = Example(torch.zeros(3, 4, 4, dtype=torch.uint8), "cat", "cat", 0.93)
WRONG = Example(torch.zeros(3, 4, 4, dtype=torch.uint8), "cat", "dog", 0.41)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def line_data(ax, number: int) -> tuple[list[float], list[float]]:
    x, y = ax.get_lines()[number].get_data()
    return [float(value) for value in x], [float(value) for value in y]


def drawn(figure: Figure) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, dpi=30)
    return png.getvalue()

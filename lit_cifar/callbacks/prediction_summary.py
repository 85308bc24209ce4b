"""What `predict` prints: the first predictions and how many there are of each class."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

SHOWN = 5
BEST = 3
"""Classes shown for a single image."""


def prediction_summary(table: pd.DataFrame, class_names: Sequence[str]) -> str:
    """A summary of predictions, to be printed.

    For one image it has the most probable classes. For more images it has the first five predictions, the number of
    images in each class, and the accuracy if labels are known.

    Args:
        table: What `prediction_table` returns.
        class_names: Names of the classes.
    """
    read = table[table["prediction"].notna()]
    if len(table) == 1 and len(read) == 1:
        return _one_image(read.iloc[0], class_names)
    lines = [_line(row) for _, row in read[:SHOWN].iterrows()]
    if len(read) > SHOWN:
        lines.append(f"… and {len(read) - SHOWN} more")
    counts = read["prediction"].value_counts()
    lines.append("Predicted: " + ", ".join(f"{name} {counts[name]}" for name in class_names if name in counts))
    labelled = read[read["label"].notna()] if "label" in read else read[:0]
    if len(labelled):
        right = int((labelled["prediction"] == labelled["label"]).sum())
        lines.append(f"{right} of {len(labelled)} images with a label are right ({right / len(labelled):.1%})")
    return "\n".join(lines)


def _line(row: pd.Series) -> str:
    label = row.get("label")
    known = f"  (label: {label})" if isinstance(label, str) and label != row["prediction"] else ""
    return f"{row['path']}: {row['prediction']}, {row['confidence']:.1%}{known}"


def _one_image(row: pd.Series, class_names: Sequence[str]) -> str:
    probabilities = row[[f"probability_{name}" for name in class_names]].astype(float).nlargest(BEST)
    best = (f"{str(name).removeprefix('probability_')} {value:.1%}" for name, value in probabilities.items())
    return f"{row['path']}: {', '.join(best)}"

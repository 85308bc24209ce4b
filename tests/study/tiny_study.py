"""A study of seconds, and its results as a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

STUDY = """\
title: Tiny
seeds: 2
protocol: {max_epochs: 2, batch_size: 16, val_size: 30, mc_samples: 5}
runs:
  ELU:
    model: {variant: {class_path: ELU, init_args: {depth: 2, width: 8}}}
  AlphaDropout:
    model: {variant: {class_path: AlphaDropout, init_args: {depth: 2, width: 8}}}
  exploding:
    model: {variant: {class_path: ELU, init_args: {depth: 2, width: 8}}, optimizer: SGD}
    learning_rate: 1.0e+30
questions:
  - {ask: "Is dropout better?", treatment: AlphaDropout, baseline: ELU}
  - {ask: "Sooner?", treatment: AlphaDropout, baseline: ELU, measure: epochs_to_reach}
  - {ask: "MC?", treatment: AlphaDropout, baseline: AlphaDropout, measure: mc_test_acc, baseline_measure: test_acc}
  - {ask: "Does exploding help?", treatment: exploding, baseline: ELU}
"""
TIMES = ["seconds", "seconds_per_epoch", "train_seconds", "test_seconds", "mc_test_seconds", "stack_seconds"]
Run = Callable[..., tuple[int, str, str]]


def results(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "results.csv")
    return table.drop(columns=[column for column in TIMES if column in table])

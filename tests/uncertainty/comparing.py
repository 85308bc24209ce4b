"""Comparisons of Monte Carlo predictions."""

from __future__ import annotations

import pytest
import torch

from lit_cifar.uncertainty import (
    MCPrediction,
)

both_kinds = pytest.mark.parametrize("masks", ["independent", "shared"])


def assert_same(one: MCPrediction, other: MCPrediction) -> None:
    for name, value in vars(one).items():
        torch.testing.assert_close(
            value, getattr(other, name), atol=2e-6, rtol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )

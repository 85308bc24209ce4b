"""The documentation's code runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/uncertainty.md"


def test_the_example_of_a_convolutional_net_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)  # noqa: S102 - our own page
    assert names["predicted"].probabilities.shape == (8, 10)
    assert names["predicted"].mutual_information.min() > 0
    assert capsys.readouterr().out.startswith("tensor([")

"""The parser of every command: order of options, and one-line messages."""

from __future__ import annotations

import pytest

from lit_cifar.utils.parser import class_before_options


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        ("fit --model.variant.depth 10 --model.variant SELU", "fit --model.variant SELU --model.variant.depth 10"),
        (
            "fit --model.variant.depth=10 --x 1 --model.variant=SELU",
            "fit --model.variant=SELU --model.variant.depth=10 --x 1",
        ),
        ("fit --model.variant SELU --model.variant.depth 10", "fit --model.variant SELU --model.variant.depth 10"),
        ("fit --trainer.callbacks.x 1 --trainer.callbacks A", "fit --trainer.callbacks.x 1 --trainer.callbacks A"),
        ("--variant SELU", "--variant SELU"),
    ],
)
def test_a_class_comes_before_its_options(typed: str, parsed: str) -> None:
    assert class_before_options(typed.split()) == parsed.split()

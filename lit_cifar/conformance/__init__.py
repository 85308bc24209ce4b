"""What every variant must do, as checks for `lit-cifar variants check` and for a plugin's own tests:

    import pytest
    from lit_cifar.conformance import CHECKS
    from my_package import MyVariant

    @pytest.mark.parametrize("check", CHECKS)
    def test_conforms(check):
        check(MyVariant)

The docstring of a check is the requirement. A check raises `ConformanceError` with one line that says what is wrong and
what to change. `CHECKS` take some seconds together for a network of the built-in size. `SLOW_CHECKS` compile the
training step and start another process, which takes half a minute. All leave torch's random state alone.
`SOURCE_CHECKS` are the checks of sources of images (see `lit_cifar.conformance.sources`).
"""

from __future__ import annotations

from collections.abc import Iterator

from lit_cifar.conformance.behaviour import (
    builds_fresh_networks,
    gives_logits,
    has_dropout_that_can_stay_on,
    judges_images_one_by_one,
    learns_with_every_weight,
    lowers_its_loss,
    shows_its_layers,
)
from lit_cifar.conformance.hyperparameters import (
    comes_back_from_a_checkpoint,
    comes_back_from_the_command_line,
    explains_itself,
    is_a_plain_value,
    takes_other_values,
)
from lit_cifar.conformance.networks import Check, ConformanceError
from lit_cifar.conformance.other_ways import (
    trains_compiled_as_eager,
    trains_in_a_stack_as_alone,
    works_in_another_process,
)
from lit_cifar.conformance.outcomes import outcomes
from lit_cifar.conformance.sources import SOURCE_CHECKS, SourceCheck, source_results
from variants import Variant

__all__ = [
    "CHECKS",
    "SLOW_CHECKS",
    "SOURCE_CHECKS",
    "Check",
    "ConformanceError",
    "SourceCheck",
    "results",
    "source_results",
]

CHECKS: tuple[Check, ...] = (
    explains_itself,
    is_a_plain_value,
    builds_fresh_networks,
    gives_logits,
    judges_images_one_by_one,
    learns_with_every_weight,
    lowers_its_loss,
    comes_back_from_a_checkpoint,
    comes_back_from_the_command_line,
    takes_other_values,
    shows_its_layers,
    has_dropout_that_can_stay_on,
    trains_in_a_stack_as_alone,
)
"""The quick checks, the simplest first."""

SLOW_CHECKS: tuple[Check, ...] = (trains_compiled_as_eager, works_in_another_process)
"""The checks that take longer."""


def results(variant_class: type[Variant], *, slow: bool = False) -> Iterator[tuple[str, str]]:
    """Each requirement in turn, and the reason why it isn't met: an empty string if it is.

    Args:
        variant_class: The class to check.
        slow: Whether to run `SLOW_CHECKS`, too.
    """
    return outcomes((*CHECKS, *(SLOW_CHECKS if slow else ())), variant_class)

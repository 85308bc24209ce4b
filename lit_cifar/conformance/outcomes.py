"""Run checks one after the other, whatever they raise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from lit_cifar.conformance.networks import ConformanceError
from variants import describe

Subject = TypeVar("Subject")


def outcomes(checks: Iterable[Callable[[Subject], None]], subject: Subject) -> Iterator[tuple[str, str]]:
    """Each check's requirement in turn, and the reason why it isn't met: an empty string if it is."""
    for check in checks:
        try:
            check(subject)
            reason = ""
        except ConformanceError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - user code may raise anything; the other checks go on
            reason = describe(error)
        yield (check.__doc__ or "").partition("\n")[0].rstrip("."), reason

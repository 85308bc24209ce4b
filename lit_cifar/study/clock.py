"""The time budget of a study."""

from __future__ import annotations

import time
from collections.abc import Callable


class OutOfTime(BaseException):
    """The time budget is over. Like KeyboardInterrupt it is not an Exception: nothing may swallow it."""


class Clock:
    """A time budget, which starts when the clock is made; without minutes it never ends."""

    def __init__(self, minutes: float | None = None) -> None:
        self._end = time.monotonic() + 60 * minutes if minutes else None

    def check(self) -> None:
        """Raise OutOfTime if the budget is over."""
        if self._end is not None and time.monotonic() > self._end:
            raise OutOfTime

    def checked(self, report: Callable[[str, int, float], None]) -> Callable[[str, int, float], None]:
        """A report of finished epochs that checks the clock at each."""

        def report_and_check(label: str, epoch: int, accuracy: float) -> None:
            report(label, epoch, accuracy)
            self.check()

        return report_and_check

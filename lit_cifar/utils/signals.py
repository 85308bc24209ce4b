"""Keeping Ctrl-C working around Lightning's Trainer."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, `kill`, and a terminal that is closed; Windows has no SIGHUP."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: ends what Ctrl-C ends.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"Stopped by {signal.Signals(number).name}.")
        self.exit_code = 128 + number


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block with `Terminated`. A second one ends the process. Under `nohup`, SIGHUP
    stays ignored."""

    def end(number: int, _: object) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_DFL)
        raise Terminated(number)

    is_main = threading.current_thread() is threading.main_thread()  # Python sets handlers in no other thread
    handled = [number for number in SIGNALS[1:] if is_main and signal.getsignal(number) == signal.SIG_DFL]
    for number in handled:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the block with KeyboardInterrupt, and restore the signal handlers when the block ends.

    After Ctrl-C, Lightning's Trainer ignores SIGINT for the rest of the process and raises SystemExit. After other
    errors it may leave the handlers of callbacks in place.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():  # Python sets handlers in no other thread
            for number, handler in before.items():
                if handler is not None:  # not one of Python's
                    signal.signal(number, handler)

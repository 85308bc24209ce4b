"""Messages of sources: plain lines, and a progress bar on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from lit_cifar.utils.console import for_user, messages_rewritten, progress_bar, say


class Stderr(io.StringIO):
    """A stderr that is a terminal, or isn't."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: is_terminal  # type: ignore[method-assign]


@pytest.mark.parametrize("forced", [False, True])
def test_without_a_terminal_a_plain_line_is_all(monkeypatch, forced) -> None:
    """Some services set FORCE_COLOR for their logs: even then, no bar goes there."""
    monkeypatch.setattr(sys, "stderr", Stderr(is_terminal=False))
    if forced:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar("Reading 10 pictures", 10) as advance:
        advance(10)
    assert sys.stderr.getvalue() == "Reading 10 pictures\n"


@pytest.mark.parametrize(("in_bytes", "amount"), [(False, "7/10"), (True, "7/10 bytes")])
def test_on_a_terminal_a_bar_shows_how_far_it_is(monkeypatch, capsys, in_bytes, amount) -> None:
    monkeypatch.setattr(sys, "stderr", Stderr(is_terminal=True))
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("Reading", 10, in_bytes=in_bytes) as advance:
        advance(7)
    assert sys.stderr.getvalue().startswith("Reading\n")
    assert amount in sys.stderr.getvalue()
    assert capsys.readouterr().out == ""


def test_say_writes_to_stderr(capsys) -> None:
    say("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_messages_are_rewritten_while_that_is_asked_for(capsys) -> None:
    with messages_rewritten(str.upper):
        say("hello")
        assert for_user("l1=1") == "L1=1"
    say("hello")
    assert capsys.readouterr().err == "HELLO\nhello\n"
    assert for_user("l1=1") == "l1=1"

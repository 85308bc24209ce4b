"""The registry's exception, and exceptions of other code as one printable line."""

from __future__ import annotations


class VariantError(ValueError):
    """A variant can't be registered, found or rebuilt; the message says what to do instead."""


def describe(error: BaseException) -> str:
    """An exception in one printable line, even if `str` of it fails."""
    try:
        message = str(error)
    except Exception as second:  # noqa: BLE001 - a plugin's exception may be broken, too
        message = f"(its message raises {type(second).__name__})"
    return printable(f"{type(error).__name__}: {message}")


def printable(text: str) -> str:
    """Text in one line without control characters, such as those of terminals."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())

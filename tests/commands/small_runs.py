"""Options of runs that take seconds."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]
SMALL = ("--model.variant.depth", 2, "--model.variant.width", 16)

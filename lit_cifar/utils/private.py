"""Private parts of other libraries: used where they exist, done without where they don't."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

_warned: set[str] = set()


def private(path: str, without: str) -> Any | None:
    """An object by its module's name and its own, such as `torch:_fused_adam_`.

    Args:
        path: The module and, after a colon, the names of attributes, with dots between them.
        without: What happens if it doesn't exist, for the warning.

    Returns:
        The object; None if it doesn't exist. A warning, once per process, then names it.
    """
    module, _, names = path.partition(":")
    try:
        found: Any = import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        warn_missing(path.replace(":", "."), without)
        return None
    return found


def warn_missing(name: str, without: str) -> None:
    """Warn, once per process, that something private has been removed or renamed."""
    if name not in _warned:
        _warned.add(name)
        warnings.warn(f"{name} no longer exists in the installed version: {without}.", stacklevel=3)

"""Classes by their path, `module.Class`, from installed modules and from those of the current folder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TypeVar

Base = TypeVar("Base")


def use_current_folder() -> None:
    """Let Python find modules in the current folder, after all others."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def import_class(path: str, base: type[Base]) -> type[Base] | None:
    """Import a class by its path, also from the current folder.

    Args:
        path: The class as `module.Class`.
        base: What it must be a subclass of.

    Returns:
        The class; None if its module has no such class.

    Raises:
        Exception: Whatever importing the module raises.
    """
    use_current_folder()
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name, None)
    return found if isinstance(found, type) and issubclass(found, base) else None

"""Variants in a folder of the user's own, read without running them: a file is imported when its variant is named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FoundClass:
    """A class that a file defines and that may be a variant: to know for sure, the file would have to be run.

    Args:
        name: Of the class.
        path: Of the file.
        description: The first line of the class's docstring.
    """

    name: str
    path: Path
    description: str

    @property
    def module(self) -> str:
        """The name under which the file is imported."""
        return f"variants.{self.path.stem}"


def classes_in(folder: Path) -> list[FoundClass]:
    """The public classes with a base class in the Python files of a folder, by their syntax alone; sorted by file."""
    files = sorted(path for path in folder.glob("*.py") if path.stem.isidentifier() and not path.stem.startswith("_"))
    return [found for path in files for found in _classes(path)]


def _classes(path: Path) -> Iterator[FoundClass]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # no variant can be in it
        return
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.bases and not node.name.startswith("_"):
            yield FoundClass(node.name, path, (ast.get_docstring(node) or "").partition("\n")[0])

"""Finds variants in the user's folder by syntax alone. A file is imported when one of its variants is named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FoundClass:
    """A class in a file that may be a variant. Only importing the file can tell.

    Args:
        name: Name of the class.
        path: Path of the file.
        description: The first line of the class's docstring.
    """

    name: str
    path: Path
    description: str

    @property
    def module(self) -> str:
        """The module name under which the file is imported."""
        return f"variants.{self.path.stem}"


def classes_in(folder: Path) -> list[FoundClass]:
    """The public classes that have a base class, in the Python files of a folder, sorted by file."""
    files = sorted(path for path in folder.glob("*.py") if path.stem.isidentifier() and not path.stem.startswith("_"))
    return [found for path in files for found in _classes(path)]


def _classes(path: Path) -> Iterator[FoundClass]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # it can't contain a variant
        return
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.bases and not node.name.startswith("_"):
            yield FoundClass(node.name, path, (ast.get_docstring(node) or "").partition("\n")[0])

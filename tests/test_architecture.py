"""The order of floors: a package imports from its own floor and from those below it, never from one above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import lit_cifar
from lit_cifar.renamed import RENAMED

FLOORS = (
    ("utils", "renamed"),
    ("data", "uncertainty"),
    ("figures",),
    ("evaluation",),
    ("speed",),
    ("training",),
    ("callbacks",),
    ("lr_find", "replicas"),
    ("study", "conformance"),
    ("commands", "api"),
    ("cli",),
    ("__main__",),
)
"""From the ground up. What stands on one floor side by side is independent of each other."""

PACKAGE = Path(lit_cifar.__file__).parent
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}


def modules() -> list[Path]:
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "__pycache__")


def imported(path: Path) -> Iterator[str]:
    """The full names of what a file imports, `from a import b` as `a.b`."""
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def test_every_module_has_a_floor() -> None:
    assert {place(path) for path in modules()} - {"__init__"} == set(FLOOR_OF)


@pytest.mark.parametrize(
    "path", [path for path in modules() if path.name != "__init__.py" or len(path.parts) > 1], ids=str
)
def test_imports_point_down(path: Path) -> None:
    here = place(path)
    for name in imported(path):
        package, _, rest = name.partition(".")
        there = rest.partition(".")[0]
        if package == "lit_cifar" and there in FLOOR_OF and there != here:
            assert FLOOR_OF[there] < FLOOR_OF[here], f"{path} imports {name}, which is not on a lower floor"


def test_variants_know_nothing_of_lit_cifar() -> None:
    for path in (PACKAGE.parent / "variants").glob("*.py"):
        assert "lit_cifar" not in {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_module_names_still_work(old: str, new: str) -> None:
    assert import_module(old) is import_module(new)

"""The structure of the code: packages import from floors below them only, and files and functions are short."""

from __future__ import annotations

import ast
import re
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
    ("lr_find",),
    ("replicas",),
    ("study", "conformance"),
    ("commands", "api"),
    ("cli",),
    ("__main__",),
)
"""From the ground up. Packages on the same floor don't import each other."""

LONGEST_FILE = 300
LONGEST_FUNCTION = 40
"""Lines of a function's body, without its docstring."""

LONG = {
    "lit_cifar/training/module.py": "one class, a fifth of it documentation that is also the help of the command line",
    "tests/training/test_checkpoint_checks.py:spoilt": "a list of 18 faults, with one or two lines for each",
}
"""Files and functions that may be longer, and why."""

SOURCES = ("lit_cifar", "variants", "benchmarks", "examples", "tests", ".ci")

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


def test_files_and_functions_are_short() -> None:
    root = PACKAGE.parent
    found = set()
    for path in (path for part in SOURCES for path in (root / part).rglob("*.py")):
        name, text = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
        found |= {name} if text.count("\n") > LONGEST_FILE else set()
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        found |= {f"{name}:{node.name}" for node in functions if lines_of_body(node) > LONGEST_FUNCTION}
    assert found == set(LONG)


def lines_of_body(function: ast.FunctionDef) -> int:
    """The lines of a function without its signature and docstring."""
    statements = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return 1 + (function.end_lineno or 0) - statements[0].lineno if statements else 0


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_module_names_still_work(old: str, new: str) -> None:
    assert import_module(old) is import_module(new)


SPEAKS_OPTIONS = ("commands", "cli", "__main__", "conformance")
"""Parts that are, or check, the command line; so are `utils/parser.py` and `utils/messages.py`."""

OPTION, COMMAND = re.compile(r"(^|[\s`(])--[a-z]"), re.compile("lit-cifar fit --ckpt_path|`ray start --head`")
"""An option, and the whole commands that messages may quote."""


def test_the_library_does_not_speak_of_options() -> None:
    found = []
    for path in modules():
        if place(path) not in SPEAKS_OPTIONS and path.name not in ("parser.py", "messages.py"):
            tree = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
            raised = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
            texts = {part.value for node in raised for part in ast.walk(node) if isinstance(part, ast.Constant)}
            found += [f"{path}: {text}" for text in map(str, texts) if OPTION.search(text) and not COMMAND.search(text)]
    assert found == []

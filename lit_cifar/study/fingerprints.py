"""Short digests of what a run's result depends on beside its plan: the images, and the code of its network."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import variants
from lit_cifar.data.sources import Source

LIBRARIES = ("torch", "torchvision", "torchmetrics", "lightning", "lit_cifar", "builtins", "abc", "dataclasses")
"""Packages whose code isn't digested, because their versions are kept."""


def data_fingerprint(source: Source) -> str:
    """A digest of all images, labels and class names. It reads the test images, but nothing is chosen by it."""
    digest = hashlib.blake2b(repr(source.class_names).encode("utf-8", "surrogateescape"), digest_size=8)
    for image_set in (source.train(), source.test()):
        digest.update(image_set.images.numpy())  # type: ignore[arg-type]
        digest.update(image_set.labels.numpy())  # type: ignore[arg-type]
    return digest.hexdigest()


def code_fingerprint(description: Any) -> str:
    """A digest of the code behind every class that a run's description names, comments and docstrings left out."""
    digest = hashlib.blake2b(digest_size=8)
    modules = {module for name in _named(description) for module in _modules(name)}
    for path in sorted({str(sys.modules[module].__file__) for module in modules}):
        digest.update(repr(_shape(ast.parse(Path(path).read_bytes()))).encode("utf-8", "replace"))
    return digest.hexdigest()


def _named(description: Any) -> Iterator[str]:
    """The variant and all class paths in a description."""
    if isinstance(description, Mapping):
        for key, value in description.items():
            if key in ("variant", "class_path") and isinstance(value, str):
                yield value
            else:
                yield from _named(value)
    elif isinstance(description, (list, tuple)):
        for item in description:
            yield from _named(item)


def _modules(name: str) -> set[str]:
    """The modules of a class and its parents, and what they use of their own packages; libraries are left out."""
    found = _class(name)
    left = [parent.__module__ for parent in inspect.getmro(found)] if found else []
    modules: set[str] = set()
    while left:
        module = left.pop()
        if module not in modules and _has_source(module):
            modules.add(module)
            left += [used for used in _used_by(module) if _package(used) == _package(module)]
    return modules


def _class(name: str) -> type | None:
    """A class that is imported by now: a variant by its name, or anything by its class path."""
    module, _, short = name.rpartition(".")
    if not module:
        return variants.get(short) if short in variants.available() else None
    found = getattr(sys.modules.get(module), short, None)
    return found if isinstance(found, type) else None


def _used_by(module: str) -> set[str]:
    """The modules that classes and functions in a module's namespace come from."""
    return {str(getattr(value, "__module__", "")) for value in vars(sys.modules[module]).values()}


def _package(module: str) -> str:
    return module.partition(".")[0]


def _has_source(module: str) -> bool:
    path = getattr(sys.modules.get(module), "__file__", None)
    return _package(module) not in LIBRARIES and bool(path) and Path(str(path)).suffix == ".py"


def _shape(node: Any) -> Any:
    """A syntax tree as nested tuples, without what a newer Python adds and an older one doesn't have."""
    if isinstance(node, list):
        return [_shape(item) for item in node if not _is_docstring(item)]
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, _shape(value)) for name, value in ast.iter_fields(node))
    return (type(node).__name__, *((name, value) for name, value in fields if value not in (None, [])))


def _is_docstring(node: Any) -> bool:
    """Whether a statement is a text that nothing uses."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)

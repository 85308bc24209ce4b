"""Converts hyperparameters to plain data, which checkpoints can hold, and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, Union

PLAIN = (str, int, float, bool, type(None))


def to_plain(value: Any) -> Any:
    """Convert a value to dicts, lists, strings, numbers, booleans and None. Enum members become their names.

    Raises:
        TypeError: If the value, or something in it, has no plain form.
    """
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    if type(value) in PLAIN:
        return value
    raise TypeError(f"a {type(value).__name__} has no plain form for a checkpoint")


def from_plain(value: Any, hint: Any) -> Any:
    """Convert plain data to the type that is expected. Data that needs no conversion is returned as it is."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_that_fits(value, arguments)
    if isinstance(hint, type) and issubclass(hint, Enum) and isinstance(value, str):
        return hint[value]
    if isinstance(hint, type) and issubclass(hint, PurePath) and isinstance(value, str):
        return hint(value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        hints = typing.get_type_hints(hint)
        return hint(**{name: from_plain(item, hints.get(name)) for name, item in value.items()})
    container = origin or hint
    if isinstance(value, Mapping) and len(arguments) == 2:
        return {from_plain(key, arguments[0]): from_plain(item, arguments[1]) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and container in (tuple, list, set, frozenset):
        each = arguments if container is tuple and Ellipsis not in arguments else arguments[:1] * len(value)
        padded = [*each, *[None] * (len(value) - len(each))]
        return container(from_plain(item, one) for item, one in zip(value, padded, strict=True))
    return value


def _first_that_fits(value: Any, hints: tuple[Any, ...]) -> Any:
    """The first conversion to one of the types that changes the data; the data itself if there is none."""
    for hint in hints:
        try:
            found = from_plain(value, hint)
        except (KeyError, TypeError, ValueError):
            continue
        if type(found) is not type(value):
            return found
    return value


def type_hints(variant_class: type, names: Mapping[str, Any]) -> dict[str, Any]:
    """The types of constructor keywords of a class and its bases, without those that can't be evaluated."""
    found: dict[str, Any] = {}
    for base in variant_class.__mro__:
        if "__init__" in base.__dict__:
            try:
                hints = typing.get_type_hints(base.__dict__["__init__"])
            except NameError:  # names that are imported for type checkers only
                continue
            found = {**{name: hint for name, hint in hints.items() if name in names}, **found}
    return found

"""One line for people from jsonargparse's many: what was given, and what to type instead."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import variants
from lit_cifar.utils.suggestions import did_you_mean, nearest

CLASSES_OF = {"model.optimizer": torch.optim, "model.scheduler": torch.optim.lr_scheduler}
"""Where the classes are that an option takes by name."""

OTHER_WORDS = {
    "dataset": "source",
    "epochs": "max_epochs",
    "folder": "data_dir",
    "gpus": "devices",
    "lr": "learning_rate",
    "path": "data_dir",
    "root": "data_dir",
    "seed": "seed_everything",
}
"""What other programs call our options, by the last part of a name."""

TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "NoneType": "null"}


def readable(message: str, options: Iterable[str] = ()) -> str:
    """The error in one line, with the useful part first.

    Args:
        message: jsonargparse's message, or the error of a class that it has made.
        options: All options of the command, for suggestions.
    """
    options = list(options)
    for explain in EXPLANATIONS:
        if line := explain(message, options):
            return line
    return re.sub(r"\s+", " ", message)


def _unknown_variant(message: str, _: Sequence[str]) -> str:
    found = re.search(r'"(?:\w+\.)*variant".*import path.*Given value: (\w+)\s*$', message, re.DOTALL)
    return variants.unknown_name_message(found[1]) if found else ""


def _missing_package(message: str, _: Sequence[str]) -> str:
    """A class that is there, but needs a package that isn't: loggers, mostly."""
    found = re.search(r"class_path '[\w.]*?(\w+)':\s+.*?(pip install [^`\n]+)`?", message, re.DOTALL)
    return f"{found[1]} needs a package that isn't installed: {found[2].strip()}" if found else ""


def _unrecognized(message: str, options: Sequence[str]) -> str:
    found = re.search(r"unrecognized arguments: (.*)", message, re.DOTALL)
    if not found:
        return ""
    first = next((word for word in found[1].split() if word.startswith("-")), found[1].split()[0])
    name = first.partition("=")[0]
    if not name.startswith("-"):
        meant = _option_of(name, options)
        hint = f"Did you mean {meant}?" if meant else "--help lists all options."
        return f"{name} has no option before it. {hint}"
    return f"There is no option {name}.{_suggestion(name.lstrip('-'), options)} --help lists all."


def _option_of(value: str, options: Sequence[str]) -> str:
    """The option that was probably meant to stand before a value; empty if there is none like that."""
    path = Path(value)
    variant = next((known for known in variants.available() if known.lower() == value.lower()), value)
    if "ckpt_path" in options and path.suffix == ".ckpt":
        return f"--ckpt_path {value}"
    if "data.pictures" in options and path.exists():
        return f"--data.pictures {value}"
    if "variants" in options:
        return f"--variants …,{variant}"
    return f"--model.variant {variant}" if "model.variant" in options else ""


def _unknown_option(message: str, options: Sequence[str]) -> str:
    """An option that the chosen class doesn't have: first the class's parser says so, then the command's names it."""
    if found := re.search(r"Option '([\w.]+)' is not accepted", message):
        choices = [option for option in options if not option.endswith("help")]
        has = f" There are {', '.join(choices)}." if choices else ""
        return f"{found[1]}: there is no such option.{_suggestion(found[1], options).replace('--', '')}{has}"
    key = re.search(r'Parser key "([\w.]+)"', message)
    said = re.search(r'(?:- |":\s+)([\w.]+: there is no such option\..*)$', message, re.MULTILINE)
    return f"--{key[1]}.{said[1]}" if key and said else ""


def _unknown_class(message: str, _: Sequence[str]) -> str:
    found = re.search(r'Parser key "([\w.]+)".*Expected a dot import path string: (\S+)', message, re.DOTALL)
    if not found:
        return ""
    key, given = found[1], found[2]
    choices = [*_literals(message), *_classes(key)]
    listed = f" There are {', '.join(choices)}." if choices else ""
    meant = did_you_mean(given, choices, cutoff=0.5)
    return f"--{key} {given}: there is no such class.{meant}{listed} Your own class works too: my_module.MyClass."


def _abstract_class(message: str, _: Sequence[str]) -> str:
    """A class that lacks methods, because it is a base class or because their names are misspelt."""
    found = re.search(r'Parser key "([\w.]+)".*is abstract.*Given value: ([\w.]+)\s*$', message, re.DOTALL)
    if not found:
        return ""
    missing = ", ".join(sorted(pkgutil.resolve_name(found[2]).__abstractmethods__))
    return f"--{found[1]} {found[2]}: the class has no {missing}. Is the name of the method right?"


def _refused_by_class(message: str, _: Sequence[str]) -> str:
    """What a class says of its arguments, without the types that jsonargparse has tried."""
    tried = re.search(r"Errors:\s+-\s(.*?)\s+Given value type", message, re.DOTALL)
    reasons = re.split(r"\n\s+-\s", tried[1]) if tried else []
    return "; ".join(re.sub(r"\s+", " ", reason) for reason in reasons if not reason.startswith("Expected"))


def _wrong_value(message: str, _: Sequence[str]) -> str:
    found = re.search(r'Parser key "([\w.]+)"', message)
    value = re.search(r"(?:Got|Given) value: (.*)\s*$", message)
    if not found or not value:
        return ""
    choices = _literals(message)
    types = [
        TYPES.get(name, name) for name in dict.fromkeys(re.findall(r"Expected an? <class '(?:\w+\.)*(\w+)'>", message))
    ]
    if nested := re.match(r"NestedArg\(key='(.+?)', val='(.*)'\)$", value[1]):
        return f"--{found[1]}.{nested[1]} {nested[2]} is an option of a class: name it, too, with --{found[1]}."
    expected = " or ".join([*([f"one of {', '.join(choices)}"] if choices else []), *types])
    return f"--{found[1]} {value[1]}: give {expected}." if expected else ""


EXPLANATIONS = (
    _unknown_variant,
    _missing_package,
    _unrecognized,
    _unknown_option,
    _unknown_class,
    _abstract_class,
    _refused_by_class,
    _wrong_value,
)
"""Tried in this order; the first that knows the message explains it."""


def _literals(message: str) -> list[str]:
    found = re.search(r"Expected a typing\.Literal\[(.*?)\]", message)
    return [choice.strip(" '\"") for choice in found[1].split(",")] if found else []


def _classes(key: str) -> list[str]:
    module = CLASSES_OF.get(key)
    found = [value for value in vars(module).values() if isinstance(value, type)] if module else []
    return sorted(kind.__name__ for kind in found if issubclass(kind, (Optimizer, LRScheduler)) and _is_public(kind))


def _is_public(kind: type) -> bool:
    return not kind.__name__.startswith("_") and kind not in (Optimizer, LRScheduler)


def _suggestion(name: str, options: Sequence[str]) -> str:
    """The option that was probably meant: the same last part or another word for it, else the nearest spelling."""
    last = name.rpartition(".")[2]
    same = [option for option in options if option.rpartition(".")[2] in (last, OTHER_WORDS.get(last))]
    begins = [option for option in options if option.startswith(name)]
    meant = [*same, *begins, nearest(name, options, cutoff=0.7)][0]
    return f" Did you mean --{meant}?" if meant else ""

"""Checks of a variant's constructor, its docstring, and how it is stored."""

from __future__ import annotations

import json
import tempfile
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer

import variants
from lit_cifar.conformance.networks import (
    ConformanceError,
    classifier,
    images_of,
    is_registered,
    network,
    require,
    seeded,
)
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.parser import OneLineErrorParser, actions_of
from variants import Variant
from variants.plain import to_plain, type_hints


def explains_itself(variant_class: type[Variant]) -> None:
    """Its docstring says in a line what it is, and in a sentence what each hyperparameter does."""
    require(bool((variant_class.__doc__ or "").strip()), "the class has no docstring of its own: write one")
    rate = variant_class.learning_rate
    require(0 < rate < 1, f"learning_rate = {rate} is out of range: state a number between 0 and 1, like 1e-3")
    parser = OneLineErrorParser()
    parser.add_class_arguments(variant_class, "variant")
    helps = {action.dest.removeprefix("variant."): action.help for action in actions_of(parser)}
    silent = [name for name in variant_class.hyperparameters() if name in helps and not helps[name]]
    require(not silent, f"nothing explains {', '.join(silent)}: add it under `Args:` in the class's docstring")
    untyped = [name for name, p in variant_class.hyperparameters().items() if p.annotation is p.empty]
    require(not untyped, f"{', '.join(untyped)} has no type: annotate it in `__init__`")


def is_a_plain_value(variant_class: type[Variant]) -> None:
    """Every hyperparameter has a default, is stored under its own name, and can be written as text."""
    required = [name for name, p in variant_class.hyperparameters().items() if p.default is p.empty]
    require(not required, f"{', '.join(required)} has no default: give it one")
    variant = variant_class()
    again = variant_class(**variant.init_args)
    changed = [name for name, value in variant.init_args.items() if again.init_args[name] != value]
    require(not changed, f"{', '.join(changed)} isn't stored as given, so a copy isn't equal: keep the argument itself")
    _check_comes_back(variant)


def _check_comes_back(variant: Variant) -> None:
    """Check that plain data brings the variant back."""
    try:
        spec = json.loads(json.dumps(variants.to_spec(variant)))
    except TypeError as error:
        raise ConformanceError(
            f"{error}: use str, int, float, bool, Literal, Optional, list, tuple, dict, Enum, Path or a dataclass"
        ) from error
    again = variants.from_spec(spec, type(variant))
    for name, value in variant.init_args.items():
        found = again.init_args[name]
        require(found == value, f"{name}={value!r} comes back from a checkpoint as {found!r}: annotate its type")


def comes_back_from_a_checkpoint(variant_class: type[Variant]) -> None:
    """A checkpoint of plain data holds all that it takes to rebuild it."""
    model, images = classifier(variant_class()).eval(), images_of(4)
    with tempfile.TemporaryDirectory() as folder, seeded(1):
        path = Path(folder, "model.ckpt")
        save(model, path)
        known = None if is_registered(variant_class) else model.variant
        again = LitClassifier.load_from_checkpoint(path, variant=known).eval()
    require(again.variant == model.variant, f"the checkpoint gives {again.variant!r}, not {model.variant!r}")
    equal = torch.equal(again(images), model(images))
    require(equal, "the network from the checkpoint gives other logits: keep all state in parameters and buffers")


def comes_back_from_the_command_line(variant_class: type[Variant]) -> None:
    """Each hyperparameter can be given on the command line, and a configuration file brings it back."""
    variant = variant_class()
    for name, value in variant.init_args.items():
        typed = f"--variant.{name}={_as_typed(to_plain(value))}"
        again = _parsed(variant_class, typed)
        found = again.init_args[name]
        require(found == value, f"`{typed}` gives {found!r}, not {value!r}: annotate the type of {name} exactly")
    again = _parsed(variant_class)
    require(again == variant, f"the command line gives {again!r}, not {variant!r}")


def takes_other_values(variant_class: type[Variant]) -> None:
    """Other values of each hyperparameter work as the default does, or are refused with a `ValueError`."""
    default = variant_class()
    hints = type_hints(variant_class, default.init_args)
    for name, value in default.init_args.items():
        for other in _other_values(value, hints.get(name)):
            try:
                variant = variant_class(**{**default.init_args, name: other})
            except ValueError:
                continue
            try:
                _check_comes_back(variant)
                with seeded(0):
                    logits = network(variant).eval()(images_of(3))
                require(list(logits.shape) == [3, 10], f"gives logits of shape {list(logits.shape)}")
            except Exception as error:
                reason = str(error) if isinstance(error, ConformanceError) else variants.describe(error)
                raise ConformanceError(
                    f"{name}={other!r}: {reason}. Make it work, or raise a ValueError in `__init__`"
                ) from error


def _other_values(value: Any, hint: Any) -> Iterator[Any]:
    """Some values that the type allows beside the default."""
    if typing.get_origin(hint) is typing.Literal:
        yield from (choice for choice in typing.get_args(hint) if choice != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, Enum):
        yield from (member for member in type(value) if member is not value)
    elif isinstance(value, int):
        yield from (value + 1, value + 2)
    elif isinstance(value, float):
        yield from (value / 2, value + 0.1)


def _parsed(variant_class: type[Variant], *typed: str) -> Variant:
    """The variant that the command line gives, by way of a configuration file."""
    parser = OneLineErrorParser()
    parser.add_argument("--variant", type=Variant)
    parsed = parser.parse_args([f"--variant={variants.class_path(variant_class)}", *typed])
    found: Variant = parser.instantiate(parser.parse_string(parser.dump(parsed))).variant
    return found


def _as_typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def save(model: LitClassifier, path: Path) -> None:
    """Write a checkpoint as the end of a training does."""
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)

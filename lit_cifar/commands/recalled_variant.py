"""The variant of a checkpoint, as the command line takes it over or replaces it."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

import variants
from lit_cifar.commands.checkpoint_options import check_variant, checkpoint_of
from lit_cifar.training import checkpoints
from lit_cifar.utils.console import say
from lit_cifar.utils.parser import OneLineErrorParser


def recalled_variant(
    spec: Mapping[str, Any], named: Namespace | None, typed: Mapping[str, Any], checkpoint: str | Path
) -> Namespace:
    """The class and hyperparameters to rebuild a checkpoint's variant with.

    If the command line names a variant that differs, one line on stderr says how.

    Args:
        spec: The variant as the checkpoint has it.
        named: The variant that the command line names, with defaults, if it names one.
        typed: The hyperparameters that the command line gives.
        checkpoint: The checkpoint's file.

    Raises:
        variants.VariantError: If none is named, and the checkpoint's can't be rebuilt as it was.
    """
    if named is None:
        check_variant(spec, checkpoint)
        variant_class = _known_class(spec)
        variants.from_spec(spec, variant_class)  # raises if it can't be rebuilt
        return _parsed(variants.class_path(variant_class), variants.recall(spec, variant_class).init_args)
    recalled = variants.recall(spec, pkgutil.resolve_name(named.class_path))
    defaults = vars(named.init_args)
    if difference := _difference(spec, recalled, defaults, typed):
        say(difference)
    parsed = _parsed(named.class_path, {name: v for name, v in recalled.init_args.items() if name not in typed})
    parsed.init_args.update(Namespace(**typed))
    return parsed


def variant_option(arguments: Sequence[str]) -> list[str]:
    """The checkpoint's variant as an option, where only hyperparameters of it are typed; else nothing.

    Args:
        arguments: What was typed after the command.

    Raises:
        variants.VariantError: If the variant isn't known.
    """
    names = [argument.partition("=")[0] for argument in arguments]
    path = checkpoint_of(arguments)
    if not path or "--model.variant" in names or not any(name.startswith("--model.variant.") for name in names):
        return []
    spec = checkpoints.description(checkpoints.read(path))["variant"]
    check_variant(spec, path)
    return [f"--model.variant={variants.class_path(_known_class(spec))}"]


def _parsed(class_path: str, init_args: Mapping[str, Any]) -> Namespace:
    """A variant as the parser of the command line gives it, from plain data."""
    parser = OneLineErrorParser()
    parser.add_argument("--variant", type=variants.Variant)
    chosen = {"class_path": class_path, "init_args": dict(init_args)}
    variant: Namespace = parser.parse_object({"variant": chosen}).variant
    return variant


def _known_class(spec: Mapping[str, Any]) -> type[variants.Variant]:
    """The registered class, or the one that `check_variant` lets us import."""
    try:
        return variants.class_of(spec)
    except variants.VariantError as error:
        try:
            found: type[variants.Variant] = pkgutil.resolve_name(spec["class_path"])
        except (ImportError, AttributeError):  # gone since the run was trained
            raise error from None
        return found


def _difference(
    spec: Mapping[str, Any], recalled: variants.Recalled, defaults: Mapping[str, Any], typed: Mapping[str, Any]
) -> str:
    """The differences between the variant and the checkpoint's; empty if they are the same."""
    path = variants.class_path(recalled.variant_class)
    taken = {name: value for name, value in recalled.init_args.items() if name not in typed}
    default = {name: value for name, value in defaults.items() if name not in recalled.init_args and name not in typed}
    parts = {
        "From the checkpoint": taken,
        "as given": typed,
        "by default": default,
        "not taken over": recalled.unknown,
    }
    changed = any(recalled.init_args.get(name, value) != value for name, value in typed.items())
    if path == spec.get("class_path") and not changed and not recalled.unknown:
        return ""
    listed = [f"{words}: {_listed(values)}" for words, values in parts.items() if values]
    return f"The checkpoint's variant is {spec.get('class_path')}; using {path}. {'; '.join(listed)}."


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())

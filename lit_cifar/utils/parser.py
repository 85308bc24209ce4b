"""The parser of all commands: a mistake becomes a one-line error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from jsonargparse.typing import register_type
from lightning.pytorch.cli import LightningArgumentParser

import variants
from lit_cifar.utils.class_paths import use_current_folder
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.messages import readable
from lit_cifar.utils.private import warn_missing

# Defaults of Lightning's callbacks that jsonargparse and PyYAML can't write: without this, `config.yaml` isn't saved.
register_type(torch.device, fail_already_registered=False)
yaml.SafeDumper.add_multi_representer(str, lambda dumper, text: dumper.represent_str(str.__str__(text)))


class OneLineErrorParser(LightningArgumentParser):
    """A parser that reports a mistake as a one-line `UserError` instead of pages of types.

    Options can't be abbreviated: what is typed is also read by other parts, such as those that open the checkpoint.

    It knows the variants of installed plugins by name, and by class path those of modules in the current folder.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        variants.available()  # jsonargparse finds only what is imported
        variants.use_folder(Path("variants"))
        use_current_folder()
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse_args(self, args: Any = None, *others: Any, **options: Any) -> Any:
        """As jsonargparse's, but a class may follow its options.

        A variant in the current `variants/` folder is imported if the command line names it.
        """
        typed = class_before_options([str(argument) for argument in (sys.argv[1:] if args is None else args)])
        variants.load_named(" ".join(typed))
        return super().parse_args(unambiguous(typed), *others, **options)

    def parse_object(self, cfg_obj: Any, *others: Any, **options: Any) -> Any:
        """As jsonargparse's, with the variants in the current folder that it names."""
        variants.load_named(str(cfg_obj))
        return super().parse_object(unambiguous(cfg_obj), *others, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(readable(message, options(self))) from ex


FULL_NAMES = {"ReduceLROnPlateau": "torch.optim.lr_scheduler.ReduceLROnPlateau"}
"""Classes of torch whose short names Lightning uses, too, so that jsonargparse asks for the full path."""


def unambiguous(given: Any) -> Any:
    """The same arguments or configuration, with torch's class wherever a name in `FULL_NAMES` stands alone."""
    if isinstance(given, str):
        option, equals, value = given.rpartition("=")
        return f"{option}{equals}{FULL_NAMES.get(value, value)}"
    if isinstance(given, dict):
        return {key: unambiguous(value) for key, value in given.items()}
    return [unambiguous(value) for value in given] if isinstance(given, list) else given


CHOSEN_CLASSES = ("--model.variant", "--model.optimizer", "--model.scheduler", "--trainer.logger")
"""Options that name a class, which must stand before the options of that class."""


def class_before_options(arguments: Sequence[str]) -> list[str]:
    """The same arguments, but `--model.variant SELU` before `--model.variant.depth 10`."""
    groups = _options_with_values(arguments)
    for chosen in CHOSEN_CLASSES:
        own = [group for group in groups if group and group[0].partition("=")[0] == chosen]
        first = next(
            (at for at, group in enumerate(groups) if group and group[0].startswith(f"{chosen}.")), len(groups)
        )
        if len(own) == 1 and first < groups.index(own[0]):
            groups.remove(own[0])
            groups.insert(first, own[0])
    return [argument for group in groups for argument in group]


def files_before_options(arguments: Sequence[str]) -> list[str]:
    """The same arguments, but `--config FILE` before all other options, which have priority then."""
    groups = _options_with_values(arguments)
    groups.sort(key=lambda group: not group or group[0].partition("=")[0] not in ("--config", "-c"))
    return [argument for group in groups for argument in group]


def _options_with_values(arguments: Sequence[str]) -> list[list[str]]:
    """Each option with the values that follow it; first, what comes before any option."""
    groups: list[list[str]] = [[]]
    for argument in arguments:
        if argument.startswith("--") or argument.partition("=")[0] == "-c":
            groups.append([])
        groups[-1].append(argument)
    return groups


def options(parser: LightningArgumentParser) -> list[str]:
    """The names of all options of a parser and of its commands, without dashes; those of the variants included."""
    actions = [action for one in (parser, *command_parsers(parser).values()) for action in actions_of(one)]
    names = {action.dest for action in actions if action.option_strings}
    if "model.variant" not in names:
        return sorted(names)
    of_variants = {
        f"model.variant.{option}" for name in variants.available() for option in variants.get(name).hyperparameters()
    }
    return sorted(names | of_variants)


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options and arguments of a parser; none, with a warning, if argparse keeps them elsewhere."""
    if not hasattr(parser, "_actions"):
        warn_missing("argparse.ArgumentParser._actions", "help and error messages are plainer")
    return list(getattr(parser, "_actions", ()))


def command_parsers(parser: argparse.ArgumentParser) -> dict[str, LightningArgumentParser]:
    """The parsers of a parser's commands by name; none, with a warning, if argparse keeps them elsewhere."""
    found: dict[str, LightningArgumentParser] = {}
    for action in actions_of(parser):
        if isinstance(action.choices, Mapping):
            found |= action.choices
    return found

"""`lit-cifar variants` lists them, `variants check` checks one against the requirements, `variants new` writes one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

import variants
from lit_cifar.commands.checking import Parser, check_subcommand, print_results
from lit_cifar.commands.new_package import new_package
from lit_cifar.commands.new_variant import new_variant
from lit_cifar.utils.class_paths import import_class
from lit_cifar.utils.errors import UserError
from variants import Variant

DESCRIPTION = """\
List the registered variants.

  lit-cifar variants [PATTERN] [--json]   all of them, or those like 'S*'
  lit-cifar variants check NAME           whether a variant works with every command; NAME may be a class path
  lit-cifar variants new NAME             write a file to start a variant of your own from; --package: a package
"""


def run_variants_command(arguments: Sequence[str]) -> None:
    """List variants, check one, or write a new one."""
    variants.use_folder(Path("variants"))
    if arguments[:1] == ["check"]:
        _check(_parser_of_check().parse_args(list(arguments[1:])))
    elif arguments[:1] == ["new"]:
        given = _parser_of_new().parse_args(list(arguments[1:]))
        print((new_package if given.package else new_variant)(given.name, Path()))
    else:
        _list(arguments)


def _parser_of_new() -> Parser:
    parser = Parser(prog="lit-cifar variants new", description="Write a variant to start from, which already works.")
    parser.add_argument("name", metavar="NAME", help="Name of the class, like MyVariant.")
    parser.add_argument("--package", action="store_true", help="Write a package with tests, ready to be published.")
    return parser


def _list(arguments: Sequence[str]) -> None:
    parser = Parser(
        prog="lit-cifar variants", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pattern", nargs="?", default="*", help="Names to list, like 'S*' (case ignored).")
    parser.add_argument("--json", action="store_true", help="Print variants and broken plugins as JSON.")
    if len(arguments) > 1 and not arguments[0].startswith("-"):
        check_subcommand(arguments[0], ("check", "new"))
    given = parser.parse_args(list(arguments))
    found, broken = _described_all(given.pattern)
    here = [
        _not_imported(found) for found in variants.in_folder() if fnmatch(found.name.lower(), given.pattern.lower())
    ]
    if not (found or here or broken or given.json):
        raise UserError(variants.unknown_name_message(given.pattern))
    if given.json:
        print(json.dumps({"variants": found, "in_folder": here, "broken": broken}, indent=2, default=str))
    else:
        _print(found, here, broken)


def _described_all(pattern: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The variants that match a pattern, and the plugins that can't be used: a module's failures count as one."""
    found, broken = [], [_broken(plugin) for plugin in variants.broken()]
    for name in variants.available(pattern):
        try:
            found.append(_described(name))
        except Exception as error:  # noqa: BLE001 - a plugin's attributes may be anything
            broken.append(_broken(variants.BrokenPlugin(name, variants.origin(name), error)))
    return found, _merged(broken)


def _described(name: str) -> dict[str, Any]:
    variant, origin = variants.get(name), variants.origin(name)
    return {
        "name": name,
        "description": variants.printable(variant.description()),
        "origin": {"package": origin.distribution, "version": origin.version, "module": origin.module},
        "learning_rate": float(variant.learning_rate),
        "paper": variants.printable(variant.reference),
        "hyperparameters": {
            parameter.name: None if parameter.default is parameter.empty else parameter.default
            for parameter in variant.hyperparameters().values()
        },
    }


def _not_imported(found: variants.FoundClass) -> dict[str, Any]:
    description, file = map(variants.printable, (found.description, str(found.path)))
    return {"name": found.name, "description": description, "file": file}


def _broken(plugin: variants.BrokenPlugin) -> dict[str, Any]:
    origin = plugin.origin
    return {
        "name": plugin.name,
        "origin": {"package": origin.distribution, "version": origin.version, "module": origin.module},
        "error": variants.describe(plugin.error),
    }


def _merged(broken: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry, with all names, for plugins that one module breaks for one reason."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for plugin in broken:
        first = merged.setdefault((str(plugin["origin"]), plugin["error"]), plugin)
        if first is not plugin:
            first["name"] += f", {plugin['name']}"
    return list(merged.values())


def _print(found: Sequence[dict[str, Any]], here: Sequence[dict[str, Any]], broken: Sequence[dict[str, Any]]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for variant in found:
        pairs = (f"{name}={default!r}" for name, default in variant["hyperparameters"].items())
        defaults = variants.printable(", ".join(pairs))
        console.print(f"[bold]{variant['name']}[/bold]  {escape(variant['description'])}")
        console.print(f"  hyperparameters: {escape(defaults)}\n  learning rate: {variant['learning_rate']:g}")
        console.print(f"  paper: {escape(variant['paper'])}\n  from: {escape(_from(variant))}")
    for variant in here:
        console.print(f"[bold]{escape(variant['name'])}[/bold]  {escape(variant['description'])}")
        console.print(f"  from: {escape(variant['file'])}, which is imported when you name the variant")
    for plugin in broken:
        console.print(f"[bold red]{escape(plugin['name'])}[/bold red]  can't be used: {escape(plugin['error'])}")
        console.print(f"  from: {escape(_from(plugin))}")


def _from(described: dict[str, Any]) -> str:
    origin = described["origin"]
    return str(variants.Origin(origin["package"], origin["version"], origin["module"]))


def _parser_of_check() -> Parser:
    parser = Parser(prog="lit-cifar variants check", description="Check that a variant works with every command.")
    parser.add_argument("name", metavar="NAME", help="A registered name, or a class path like file.MyVariant.")
    parser.add_argument("--quick", action="store_true", help="Leave out compiling and another process: half a minute.")
    return parser


def _check(given: argparse.Namespace) -> None:
    found = variant_class(given.name)
    from lit_cifar.conformance import results
    from lit_cifar.utils.warnings import silence_lightning

    silence_lightning()
    print_results(results(found, slow=not given.quick), found.__name__)


def variant_class(name: str) -> type[Variant]:
    """The class of a registered name, or of a class path, which is imported from the current folder too.

    Raises:
        UserError: If there is no such class.
    """
    module, _, class_name = name.rpartition(".")
    if not module:
        return variants.get(name)
    try:
        found = import_class(name, Variant)  # type: ignore[type-abstract]
    except Exception as error:
        reason = variants.describe(error)
        raise UserError(f"{module} can't be imported: {reason}. A class path is module.Class.") from error
    if found is None:
        raise UserError(f"{name} is no variant: {module} has no class {class_name} that subclasses variants.Variant.")
    return found

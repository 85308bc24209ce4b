"""`lit-cifar sources` lists where images can come from, `sources check` checks that a source meets the requirements."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape

from lit_cifar.commands.checking import Parser, check_subcommand, print_results
from lit_cifar.utils.errors import UserError

DESCRIPTION = """\
List the sources of images, for `--data.source`.

  lit-cifar sources                         the built-in sources and those of installed packages
  lit-cifar sources check NAME [options]    whether a source meets the requirements; NAME may be a class path
"""


def run_sources_command(arguments: Sequence[str]) -> None:
    """List sources, or check one."""
    if arguments[:1] == ["check"]:
        _check(_parser_of_check().parse_args(list(arguments[1:])))
        return
    parser = Parser(
        prog="lit-cifar sources", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if arguments:
        check_subcommand(arguments[0], ("check",))
    parser.parse_args(list(arguments))
    _list()


def _list() -> None:
    from lit_cifar.data.sources.plugins import BUILT_IN, installed

    console = Console(highlight=False, soft_wrap=True)
    for name, description in BUILT_IN.items():
        console.print(f"[bold]{name}[/bold]  {description}")
    for source in installed():
        taken = f"; {source.taken_by} has this name, so use the class path" if source.taken_by else ""
        console.print(
            f"[bold]{escape(source.name)}[/bold]  {escape(source.class_path)}, from {escape(source.package)}{taken}"
        )


def _parser_of_check() -> Parser:
    parser = Parser(prog="lit-cifar sources check", description="Check that a source works with every command.")
    parser.add_argument("name", metavar="NAME", help="A source's name, or a class path like my_module.MySource.")
    parser.add_argument("--data_dir", default="data", help="Folder of the data set.")
    parser.add_argument("--options", default="{}", help="Options of the source, as '{coarse: true}'.")
    return parser


def _check(given: argparse.Namespace) -> None:
    from lit_cifar.conformance.sources import source_results
    from lit_cifar.data.sources import open_source

    source = open_source(given.name, Path(given.data_dir), options=_options(given.options))
    print_results(source_results(source), given.name)


def _options(text: str) -> dict[str, Any]:
    try:
        options = yaml.safe_load(text)
    except yaml.YAMLError:
        options = None
    if not isinstance(options, dict):
        raise UserError(f"--options {text!r} can't be used: give names and values, as in --options '{{coarse: true}}'.")
    return options

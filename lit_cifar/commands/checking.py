"""What `variants check` and `sources check` have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from lit_cifar.utils.errors import UserError
from lit_cifar.utils.suggestions import did_you_mean


class Parser(argparse.ArgumentParser):
    """argparse, which needs no torch; its complaints are `UserError`s."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def print_results(results: Iterable[tuple[str, str]], name: str) -> None:
    """Print a line for each requirement.

    Args:
        results: Each requirement, and the reason why it isn't met; empty if it is.
        name: Name of the check.

    Raises:
        UserError: If a requirement isn't met.
    """
    console = Console(highlight=False, soft_wrap=True)
    reasons: list[str] = []
    for promise, reason in results:
        mark = "[red]✗[/red]" if reason else "[green]✓[/green]"
        shown = "the same" if reason in reasons else reason
        console.print(f"{mark} {escape(promise)}{escape(f': {shown}' if reason else '')}")
        reasons += [reason] if reason else []
    if reasons:
        raise UserError(f"{name} fails {len(reasons)} of the checks.")


def check_subcommand(name: str, known: Sequence[str]) -> None:
    """Refuse a misspelt name of a subcommand, such as `chek`.

    Raises:
        UserError: If the name is like a known one.
    """
    if name not in known and (meant := did_you_mean(name, known)):
        raise UserError(f"There is no {name}.{meant}")

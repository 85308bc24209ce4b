"""What `variants check` and `sources check` have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from lit_cifar.utils.errors import UserError


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
    failed = 0
    for promise, reason in results:
        failed += bool(reason)
        mark = "[red]✗[/red]" if reason else "[green]✓[/green]"
        console.print(f"{mark} {escape(promise)}{escape(f': {reason}' if reason else '')}")
    if failed:
        raise UserError(f"{name} fails {failed} of the checks.")

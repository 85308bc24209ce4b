"""`lit-cifar variants`: what is registered."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

import variants
from lit_cifar.parser import OneLineErrorParser


def list_variants(arguments: Sequence[str]) -> None:
    """Print the registered variants whose names match a pattern, and the plugins that are broken."""
    parser = OneLineErrorParser(prog="lit-cifar variants", description="List the registered variants.")
    parser.add_argument("pattern", type=str, nargs="?", default="*", help="Names to list, like 'S*' (case ignored).")
    pattern = parser.parse_args(list(arguments)).pattern
    console = Console(highlight=False, soft_wrap=True)
    for name in variants.available(pattern):
        console.print(_described(name))
    for plugin in variants.broken():
        console.print(f"[bold]{plugin.name}[/bold] is broken: {escape(str(plugin.error))} ({plugin.origin})")


def _described(name: str) -> str:
    variant = variants.get(name)
    knobs = ", ".join(f"{knob.name}={knob.default!r}" for knob in variant.knobs().values())
    lines = [
        f"[bold]{name}[/bold]  {escape(variant.description())}",
        f"  knobs: {escape(knobs)}",
        f"  learning rate: {variant.learning_rate:g}",
        f"  paper: {escape(variant.reference)}",
        f"  from: {escape(str(variants.origin(name)))}",
    ]
    return "\n".join(lines)

"""`lit-cifar variants`: what is registered."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

import variants
from lit_cifar.parser import OneLineErrorParser


def list_variants(arguments: Sequence[str]) -> None:
    """Print the registered variants whose names match a pattern."""
    parser = OneLineErrorParser(prog="lit-cifar variants", description="List the registered variants.")
    parser.add_argument("pattern", type=str, nargs="?", default="*", help="Names to list, like 'S*' (case ignored).")
    pattern = parser.parse_args(list(arguments)).pattern
    table = Table("variant", "what it is", "learning rate", "knobs", "paper")
    for name in variants.available(pattern):
        variant = variants.get(name)
        knobs = ", ".join(f"{knob.name}={knob.default!r}" for knob in variant.knobs().values())
        table.add_row(name, variant.description(), f"{variant.learning_rate:g}", knobs, variant.reference)
    Console().print(table)

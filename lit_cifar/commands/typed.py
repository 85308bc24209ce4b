"""Options that are read before the command's own parser is made."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def typed_value(option: str, arguments: Sequence[str]) -> str | None:
    """The value of an option on the command line, the last one if it is repeated; None if there is none.

    Args:
        option: With its dashes, such as `--ckpt_path`.
        arguments: What was typed after the command.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(option, dest="value", nargs="?")  # an option without its value: the command's parser says so
    value: str | None = parser.parse_known_args(list(arguments))[0].value
    return value

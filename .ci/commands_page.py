"""Write the options of every command to build/docs/commands.md, for `make docs`; docs/commands.md includes it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from lit_cifar.__main__ import HELP, main

OUTPUT = Path("build/docs/commands.md")
COMMANDS = re.findall(r"^  ([a-z-]+)  +\S", HELP.partition("options:")[0], re.MULTILINE)
FOREIGN = {"tensorboard": "Its options are TensorBoard's own: `lit-cifar tensorboard --help` lists them."}
OMITTED = re.compile(r"help|config|print_config|.*\.help")
LONGEST_DEFAULT = 60


class _Found(BaseException):
    """Carries a command's parser out of the command, which would print its help and exit."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser that prints the help of a command."""

    def print_help(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        raise _Found(parser)

    kept, argparse.ArgumentParser.print_help = argparse.ArgumentParser.print_help, print_help  # type: ignore[method-assign]
    try:
        main([command, "--help"])
    except _Found as found:
        return found.parser
    finally:
        argparse.ArgumentParser.print_help = kept  # type: ignore[method-assign]
    raise SystemExit(f"lit-cifar {command} --help has no parser")


def page() -> Iterator[str]:
    """The page, line by line. Groups of options that an earlier command has are not repeated."""
    seen: dict[str, str] = {}
    for command in COMMANDS:
        yield f"\n## lit-cifar {command}\n"
        if command in FOREIGN:
            yield FOREIGN[command]
            continue
        parser = parser_of(command)
        yield description(parser.description or "")
        for group in parser._action_groups:
            yield from section(command, group, seen)


def description(text: str) -> str:
    """What a command does; a text of several lines is shown as it is."""
    first, _, rest = text.partition("\n")
    return f"{plain(first)}\n" + (f"\n```\n{rest.strip()}\n```\n" if rest else "")


def section(command: str, group: argparse._ArgumentGroup, seen: dict[str, str]) -> Iterator[str]:
    """A group of options, or a link to the command that has the same."""
    options = [action for action in group._group_actions if is_shown(action)]
    if not options:
        return
    prefix = options[0].dest.partition(".")[0] if "." in options[0].dest else ""
    text = "\n".join(map(definition, options))
    if prefix:
        yield f"\n### --{prefix} {{ #{command}-{prefix} }}\n"
    if text in seen:
        yield f"The same as for [{seen[text]}](#{seen[text]}-{prefix})." if prefix else ""
        return
    seen[text] = command if prefix else seen.get(text, command)
    if prefix:
        yield f"{plain(group.title or '')}\n"
    yield text


def is_shown(action: argparse.Action) -> bool:
    """Whether an option belongs on the page: not those for help and configuration files."""
    only_a_file = action.help == "Path to a configuration file."
    return (
        bool(action.help)
        and action.help != argparse.SUPPRESS
        and not OMITTED.fullmatch(action.dest)
        and not only_a_file
    )


def definition(action: argparse.Action) -> str:
    """An option with its default and its help, as an entry of a definition list."""
    name = max(action.option_strings, key=len, default=action.dest.upper()).removesuffix("+")
    default = "" if action.default in (None, argparse.SUPPRESS) else f" default `{short(action.default)}`"
    return f"`{name}`{default}\n:   {plain(action.help or '')}\n"


def short(default: object) -> str:
    """A default on one line, cut where it is long."""
    text = " ".join(str(default).replace("`", "'").split())
    return text if len(text) <= LONGEST_DEFAULT else f"{text[: LONGEST_DEFAULT - 1]}…"


def plain(text: str) -> str:
    """A help text in which only code is markup: ``code`` and :class:`code` become `code`, other symbols are escaped."""
    text = re.sub(r" \((?:required, )?type: .*", "", " ".join(text.split()))
    parts = re.split(r"(?::\w+:)?(`+)(.+?)\1", text)
    words, code = parts[::3], parts[2::3]
    words = [re.sub(r"([*_<>\[\]|])", r"\\\1", word) for word in words]
    return words[0] + "".join(f"`{inside.lstrip('~')}`{word}" for inside, word in zip(code, words[1:], strict=True))


if __name__ == "__main__":
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text("\n".join(page()) + "\n", encoding="utf-8")
    print(f"{OUTPUT}: {', '.join(COMMANDS)}", file=sys.stderr)

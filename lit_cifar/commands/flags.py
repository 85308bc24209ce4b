"""Arguments in the library's messages, as the options that people type."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Iterator, Mapping

OWN_OPTIONS = {
    "compare": {
        **{
            name: f"--{name}"
            for name in ("fresh", "max_epochs", "max_seeds", "minutes", "replicas", "seeds", "workers")
        },
        "address": "--ray",
        "folder": "--output",
    },
    "judge": {"study": "--study"},
    "lr-find": {name: f"--{name}" for name in ("confirm", "confirm_epochs", "min_lr", "max_lr", "steps")},
}
"""Arguments outside of a section, and the options that set them, by command."""

SECTIONS = {
    "model": ("lit_cifar.training.module", "LitClassifier"),
    "data": ("lit_cifar.data.datamodule", "CIFAR10DataModule"),
}
"""Sections of options, and the classes that take them."""

SECTIONS_OF = {
    **dict.fromkeys(("fit", "validate", "test", "predict", "lr-find"), ("model", "data")),
    "compare": ("data",),
}
"""The sections that a command has; other commands have none."""

ARGUMENT = re.compile(
    r"""(?<!\w)'[^']*'(?!\w)|\b(?P<name>[a-z]\w*)=(?P<value>\[[^\]]*\]|"[^"]*"|'[^']*'|[^\s,;:()]*[^\s,;:().`])(?:\(\)|\((?P<more>…)\))?"""
)
"""An argument in a message: `l1=-1`, `source="folder"`, `variant=my_module.Mine()` or `variant=SELU(…)`. Quoted names
are matched, too, so that nothing within them is."""

QUOTES = " '\""


def with_flags(message: str, command: str) -> str:
    """Write the arguments that a message names as options of a command.

    Args:
        message: A message of the library, such as `l1=-1 is too small`.
        command: Name of the command, such as `fit`.

    Returns:
        The message with options, such as `--model.l1 -1 is too small`. Arguments that the command has no option for
        stay as they are.
    """
    flags = dict(_flags(command))
    return ARGUMENT.sub(lambda found: _typed(found, flags), message)


def _flags(command: str) -> Iterator[tuple[str, str]]:
    for section in SECTIONS_OF.get(command, ()):
        module, name = SECTIONS[section]
        if module in sys.modules:  # otherwise none of its messages can have been raised
            parameters = inspect.signature(getattr(sys.modules[module], name)).parameters
            yield from ((parameter, f"--{section}.{parameter}") for parameter in parameters)
    yield from OWN_OPTIONS.get(command, {}).items()


def _typed(found: re.Match[str], flags: Mapping[str, str]) -> str:
    """An argument as it is typed; a switch has no value."""
    if (flag := flags.get(found["name"])) is None:
        return found[0]
    value = found["value"].strip(QUOTES)
    if value == "True" and flag == "--fresh":
        return flag
    if value.startswith("["):
        value = f"[{','.join(item.strip(QUOTES) for item in value[1:-1].split(','))}]"
    typed = value if value == "…" else shlex.quote(value)
    return f"{flag} {typed}" + (f" {found['more']}" if found["more"] else "")

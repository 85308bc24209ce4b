"""Sources from installed packages, and by class path."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import entry_points
from io import StringIO
from pathlib import Path
from typing import Any

from lit_cifar.data.sources.base import Source
from lit_cifar.utils.class_paths import import_class
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.suggestions import did_you_mean
from variants import describe

ENTRY_POINT_GROUP = "lit_cifar.sources"

BUILT_IN = {
    "cifar10": "CIFAR-10 from the official files, downloaded when missing",
    "huggingface": "the copy of CIFAR-10 at Hugging Face",
    "folder": "pictures in folders, one folder per class",
    "synthetic": "ten classes of drawn shapes, no files needed",
    "auto": "cifar10 or its copy if one is available within five minutes, else synthetic",
}
"""The sources that need no package, with what `lit-cifar sources` says of them."""


@dataclass(frozen=True)
class InstalledSource:
    """A source that an installed package brings; it isn't imported before it is used.

    Args:
        name: The name of its entry point.
        class_path: Its class, as `module.Class`.
        package: The package and its version.
        taken_by: What has the name already, in which case only the class path works; empty if nothing has.
    """

    name: str
    class_path: str
    package: str
    taken_by: str = ""


def installed() -> list[InstalledSource]:
    """All sources of installed packages. If several have a name (ignoring case), the first package has it."""
    points = [(point.dist, point) for point in entry_points(group=ENTRY_POINT_GROUP)]
    labelled = [(f"{dist.name} {dist.version}" if dist else "", point) for dist, point in points]
    owners = dict.fromkeys(BUILT_IN, "lit_cifar itself")
    found: list[InstalledSource] = []
    for package, point in sorted(labelled, key=lambda pair: (pair[0].lower(), pair[1].name, pair[1].value)):
        taken_by = owners.setdefault(point.name.lower(), package)
        first = taken_by == package and not any(known.name.lower() == point.name.lower() for known in found)
        class_path = point.value.replace(":", ".")
        found.append(InstalledSource(point.name, class_path, package, "" if first else taken_by))
    return found


def by_name() -> Mapping[str, InstalledSource]:
    """Installed sources by their name in lower case."""
    return {source.name.lower(): source for source in installed() if not source.taken_by}


def open_plugin(name: str, data_dir: Path, options: Mapping[str, Any]) -> Source:
    """Make a source of an installed package, or of a class path.

    Args:
        name: The name of an installed source, ignoring case, or a class path.
        data_dir: The folder of the data set.
        options: The other arguments of its constructor.

    Raises:
        UserError: If there is no such source, it can't be imported, or it doesn't take the options.
    """
    source_class = find_class(name)
    _check_options(source_class, options)
    try:
        return source_class(data_dir, **options)  # type: ignore[call-arg]
    except UserError:
        raise
    except Exception as error:  # user code may raise anything
        raise UserError(f"source={name!r} can't be used: {describe(error)}.") from error


def find_class(name: str) -> type[Source]:
    """The class of an installed source or of a class path; it is imported, from the current folder too.

    Raises:
        UserError: If there is none, or it can't be imported.
    """
    plugin = by_name().get(name.lower())
    path = plugin.class_path if plugin else name
    module, _, class_name = path.rpartition(".")
    if not module:
        raise UserError(_unknown(name))
    try:
        with redirect_stdout(StringIO()):
            found = import_class(path, Source)  # type: ignore[type-abstract]
    except Exception as error:  # user code may raise anything
        origin = f" of {plugin.package}" if plugin else ""
        raise UserError(f"source={name!r}{origin} can't be imported: {describe(error)}.") from error
    if found is None:
        raise UserError(f"source={name!r} is no source: {module} has no class {class_name} that subclasses Source.")
    return found


def check_known(name: str) -> None:
    """Refuse a source that a checkpoint names and that would have to be imported for its sake.

    Raises:
        UserError: If it is neither built in nor installed nor imported already.
    """
    if name in BUILT_IN or name.lower() in by_name() or name in {plugin.class_path for plugin in installed()}:
        return
    module, _, class_name = name.rpartition(".")
    if not isinstance(getattr(sys.modules.get(module), class_name, None), type):
        raise UserError(
            f"The checkpoint was trained on images of {name!r}, which isn't installed here. If you trust it, give it "
            f"yourself: source={name!r}."
        )


def _check_options(source_class: type[Source], options: Mapping[str, Any]) -> None:
    parameters = list(inspect.signature(source_class).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    takes = [parameter.name for parameter in parameters[1:]]
    if unknown := [name for name in options if name not in takes]:
        has = f"it has {', '.join(takes)}" if takes else "it has none"
        raise UserError(f"{source_class.__name__} has no option {', '.join(unknown)}: {has}.")


def _unknown(name: str) -> str:
    names = [*BUILT_IN, *(source.name for source in by_name().values())]
    return (
        f"There is no source {name!r}.{did_you_mean(name, names)} Use one of {', '.join(names)}, or a class path such "
        "as my_module.MySource."
    )

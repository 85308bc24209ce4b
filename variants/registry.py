"""Where variants are found by name: built-in files, installed plugins, and class paths of the user's own."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import multiprocessing
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from variants.base import Variant
from variants.folder import FoundClass, classes_in

ENTRY_POINT_GROUP = "lit_cifar.variants"
BUILT_IN_DISTRIBUTION = "lit-cifar"

VariantClass = TypeVar("VariantClass", bound=type[Variant])


class VariantError(ValueError):
    """A variant that can't be registered, found or rebuilt; the message says what to do instead."""


@dataclass(frozen=True)
class Origin:
    """Where a variant comes from: a distribution, its version and the module that defines it.

    A variant from a folder of the user's own has a file instead of a distribution.
    """

    distribution: str
    version: str
    module: str
    file: str = ""

    def __str__(self) -> str:
        if self.file:
            return self.file
        package = f"{self.distribution} {self.version}".strip()
        return f"{package} ({self.module})" if package else self.module


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be imported, and the exception that says why."""

    name: str
    origin: Origin
    error: BaseException


_classes: dict[str, type[Variant]] = {}
_origins: dict[str, Origin] = {}
_broken: dict[str, BrokenPlugin] = {}
_folders: list[Path] = []


def register(variant_class: VariantClass) -> VariantClass:
    """Make a variant known by its class name; use it as a class decorator.

    Registering the same class again changes nothing.

    Raises:
        VariantError: if another class already has this name (ignoring case); the message names both origins.
    """
    name = variant_class.__name__
    taken = _find(name)
    if taken is not None and _is_same_class(_classes[taken], variant_class):
        return variant_class
    origin = Origin("", "", variant_class.__module__)
    if taken is not None:
        raise VariantError(
            f"The variant name {name!r} from {origin} is taken by {taken!r} from {_origins[taken]}. "
            "Names are unique, ignoring case: rename the new class."
        )
    _classes[name] = variant_class
    _origins[name] = origin
    return variant_class


def available(pattern: str = "*") -> list[str]:
    """Names of the registered variants that match a shell-style pattern (case ignored), sorted."""
    load_plugins()
    return sorted(name for name in _classes if fnmatch.fnmatch(name.lower(), pattern.lower()))


def get(name: str) -> type[Variant]:
    """The variant class registered under a name (case ignored).

    Raises:
        VariantError: if there is none; the message lists the names and suggests the nearest. If the variant belongs
            to a plugin that could not be imported, the plugin's own exception is the cause.
    """
    load_plugins()
    found = _find(name) or _load_from_folder(name)
    if found is not None:
        return _classes[found]
    for plugin in _broken.values():
        if plugin.name.lower() == name.lower():
            raise VariantError(
                f"The variant {name!r} comes from {plugin.origin}, which could not be imported: "
                f"{type(plugin.error).__name__}: {plugin.error}"
            ) from plugin.error
    raise VariantError(unknown_name_message(name))


def unknown_name_message(name: str) -> str:
    """One line for people: the unknown name, the nearest known one, and all the choices."""
    names = sorted({*available(), *(found.name for found in in_folder())})
    by_lower_case = {known.lower(): known for known in names}
    nearest = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.5)
    suggestion = f" Did you mean {by_lower_case[nearest[0]]!r}?" if nearest else ""
    return (
        f"Unknown variant {name!r}.{suggestion} Registered: {', '.join(names)}. "
        "Your own class works too, by its class path: my_module.MyVariant."
    )


def use_folder(folder: Path) -> None:
    """Find variants in the Python files of a folder, too. A file is only imported when one of its variants is named.

    Its classes also have class paths: `variants.<file>.<class>`. A file called like a built-in one is never imported.
    """
    package = sys.modules[__package__ or "variants"].__path__
    _folders[:] = [folder] if folder.is_dir() and folder.resolve() != Path(package[0]).resolve() else []
    package[1:] = [str(folder.absolute()) for folder in _folders]
    importlib.invalidate_caches()


def in_folder() -> list[FoundClass]:
    """The classes in the folder of the user's own that aren't imported, and may be variants."""
    return [found for folder in _folders for found in classes_in(folder) if _find(found.name) is None]


def load_named(text: str) -> None:
    """Import the variants of the user's own folder whose names are words of a text, such as a command line."""
    for found in in_folder():
        if re.search(rf"\b{re.escape(found.name)}\b", text):
            get(found.name)


def origin(name: str) -> Origin:
    """The package, version and module a registered variant comes from."""
    get(name)
    return _origins[_find(name) or name]


def broken() -> list[BrokenPlugin]:
    """The plugins that could not be imported."""
    load_plugins()
    return list(_broken.values())


def to_spec(variant: Variant) -> dict[str, Any]:
    """A variant as plain data, for checkpoints: class path, init arguments, distribution and version."""
    variant_class = type(variant)
    found = _find(variant_class.__name__)
    where = _origins[found] if found and _classes[found] is variant_class else Origin("", "", variant_class.__module__)
    return {
        "class_path": class_path(variant_class),
        "init_args": dict(variant.init_args),
        "distribution": where.distribution,
        "version": where.version,
    }


def from_spec(spec: Mapping[str, Any]) -> Variant:
    """Rebuild a variant from `to_spec`'s plain data, through the registry only: nothing new is imported.

    Raises:
        VariantError: if the class isn't registered here, or no longer takes these arguments.
    """
    load_plugins()
    wanted, init_args = str(spec.get("class_path", "")), spec.get("init_args", {})
    for variant_class in _classes.values():
        if class_path(variant_class) == wanted:
            try:
                return variant_class(**init_args)
            except (TypeError, ValueError) as error:
                raise VariantError(f"The variant {wanted} no longer takes {init_args}: {error}") from error
    distribution = spec.get("distribution")
    remedy = (
        f"Install it: pip install '{distribution}=={spec.get('version')}'."
        if distribution and distribution != BUILT_IN_DISTRIBUTION
        else f"If you trust it, name it yourself: --model.variant {wanted}."
    )
    raise VariantError(f"The variant {wanted!r} is not registered here. {remedy}")


def class_path(variant_class: type[Variant]) -> str:
    """The full dotted name of a variant class."""
    return f"{variant_class.__module__}.{variant_class.__qualname__}"


def load_built_ins(package: str, paths: Sequence[str], version: str) -> None:
    """Import every module of the `variants` package, so that a file dropped into it is registered."""
    for module in pkgutil.iter_modules(paths, prefix=f"{package}."):
        source = Origin(BUILT_IN_DISTRIBUTION, version, module.name)
        stem = module.name.rpartition(".")[2]
        _import_plugin(stem, source, partial(importlib.import_module, module.name))


@cache
def load_plugins() -> None:
    """Import the variants of installed packages, once, in the order of their names."""
    for entry_point in sorted(_entry_points(), key=lambda found: found.name):
        distribution = entry_point.dist
        source = Origin(
            distribution.name if distribution else "", distribution.version if distribution else "", entry_point.module
        )
        _import_plugin(entry_point.name, source, partial(_register_loaded, entry_point))


def _entry_points() -> Iterator[EntryPoint]:
    yield from entry_points(group=ENTRY_POINT_GROUP)


def _register_loaded(entry_point: EntryPoint) -> None:
    loaded = entry_point.load()
    if isinstance(loaded, type) and issubclass(loaded, Variant):
        register(loaded)
    elif not isinstance(loaded, ModuleType):  # a module registers its variants itself
        raise VariantError(f"its entry point {entry_point.value!r} is neither a variant nor a module")


def _import_plugin(name: str, source: Origin, load: Callable[[], object]) -> None:
    """Import one plugin and note its origin; a plugin that fails breaks nothing but itself."""
    before = set(_classes)
    try:
        load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a stranger's module does, only it is broken
        for added in set(_classes) - before:
            del _classes[added], _origins[added]
        _broken[f"{name} {source}"] = BrokenPlugin(name, source, error)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"lit-cifar: the variant plugin {name!r} from {source} is broken: {reason}", file=sys.stderr)
        return
    for added in set(_classes) - before:
        _origins[added] = replace(source, module=_classes[added].__module__)


def _load_from_folder(name: str) -> str | None:
    """Import the file in the user's own folder that has this variant, and say so; the variant's exact name."""
    found = next((found for found in in_folder() if found.name.lower() == name.lower()), None)
    if found is None:
        return None
    source = Origin("", "", found.module, str(found.path))
    _import_plugin(found.name, source, partial(_register_from_file, found))
    if _find(name) and multiprocessing.parent_process() is None:  # a worker's parent has said it
        print(f"lit-cifar: the variant {found.name} comes from {found.path}.", file=sys.stderr)
    return _find(name)


def _register_from_file(found: FoundClass) -> None:
    module = importlib.import_module(found.module)
    if not found.path.samefile(module.__file__ or ""):
        raise VariantError("the file is called like a built-in one: rename it")
    loaded = getattr(module, found.name, None)
    if not (isinstance(loaded, type) and issubclass(loaded, Variant)):
        raise VariantError(f"{found.name} is no subclass of variants.Variant")
    register(loaded)


def _find(name: str) -> str | None:
    return next((known for known in _classes if known.lower() == name.lower()), None)


def _is_same_class(known: type[Variant], other: type[Variant]) -> bool:
    return known is other or (class_path(known) == class_path(other) and known.__doc__ == other.__doc__)

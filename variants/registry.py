"""Where variants are found by name: built-in files, installed plugins, and class paths of the user's own."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, TypeVar

from variants.base import Variant

ENTRY_POINT_GROUP = "lit_cifar.variants"
BUILT_IN_DISTRIBUTION = "lit-cifar"

VariantClass = TypeVar("VariantClass", bound=type[Variant])


class VariantError(ValueError):
    """A variant that can't be registered, found or rebuilt; the message says what to do instead."""


@dataclass(frozen=True)
class Origin:
    """Where a variant comes from: a distribution, its version and the module that defines it."""

    distribution: str
    version: str
    module: str

    def __str__(self) -> str:
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
    found = _find(name)
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
    names = available()
    by_lower_case = {known.lower(): known for known in names}
    nearest = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.5)
    suggestion = f" Did you mean {by_lower_case[nearest[0]]!r}?" if nearest else ""
    return (
        f"Unknown variant {name!r}.{suggestion} Registered: {', '.join(names)}. "
        "Your own class works too, by its class path: my_module.MyVariant."
    )


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
        _origins[added] = Origin(source.distribution, source.version, _classes[added].__module__)


def _find(name: str) -> str | None:
    return next((known for known in _classes if known.lower() == name.lower()), None)


def _is_same_class(known: type[Variant], other: type[Variant]) -> bool:
    return known is other or (class_path(known) == class_path(other) and known.__doc__ == other.__doc__)

"""Finds variants by name: those in this package, and those of installed packages (plugins)."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import multiprocessing
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from io import StringIO
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TypeVar, get_args, get_type_hints

from variants.base import Variant
from variants.errors import VariantError, describe
from variants.folder import FoundClass, classes_in

ENTRY_POINT_GROUP = "lit_cifar.variants"
BUILT_IN_DISTRIBUTION = "lit-cifar"

VariantClass = TypeVar("VariantClass", bound=type[Variant])


@dataclass(frozen=True)
class Origin:
    """The package, its version and the module that a variant comes from.

    A variant from a folder of the user's own has a file instead of a package.
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
    """A plugin that could not be imported, and why."""

    name: str
    origin: Origin
    error: BaseException


_classes: dict[str, type[Variant]] = {}
_origins: dict[str, Origin] = {}
_broken: dict[str, BrokenPlugin] = {}
_folders: list[Path] = []
_loading: list[bool] = []


def register(variant_class: VariantClass) -> VariantClass:
    """Register a variant by its class name. Used as a class decorator.

    Registering the same class again changes nothing.

    Raises:
        VariantError: If another class already has this name (ignoring case).
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
        VariantError: If there is none. If the variant belongs to a plugin that could not be imported, the plugin's
            exception is the cause.
    """
    load_plugins()
    found = _find(name) or _load_from_folder(name)
    if found is not None:
        return _classes[found]
    for plugin in _broken.values():
        if plugin.name.lower() == name.lower():
            raise VariantError(
                f"The variant {name!r} comes from {plugin.origin}, which could not be imported: "
                f"{describe(plugin.error)}"
            ) from plugin.error
    raise VariantError(unknown_name_message(name))


def unknown_name_message(name: str) -> str:
    """An error message for an unknown name, with what was probably meant and all choices."""
    names = sorted({*available(), *(found.name for found in in_folder())})
    by_lower_case = {known.lower(): known for known in names}
    nearest = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.5)
    meant = _option_of_dense(name) or (repr(by_lower_case[nearest[0]]) if nearest else "")
    suggestion = f" Did you mean {meant}?" if meant else ""
    return (
        f"Unknown variant {name!r}.{suggestion} Registered: {', '.join(names)}. "
        "Your own class works too, by its class path: my_module.MyVariant."
    )


def _option_of_dense(name: str) -> str:
    """How `Dense` gets an activation or first weights of this name; empty if it has none such."""
    for option, annotation in get_type_hints(_classes["Dense"].__init__).items():
        for choice in get_args(annotation):
            if str(choice).replace("_", "") == name.lower().replace("_", ""):
                return f"Dense with the option {option} {choice}"
    return ""


def use_folder(folder: Path) -> None:
    """Also find variants in the Python files of a folder. A file is imported when one of its variants is named.

    Its classes have the class paths `variants.<file>.<class>`. A file with a built-in name is never imported.
    """
    package = sys.modules[__package__ or "variants"].__path__
    _folders[:] = [folder] if folder.is_dir() and folder.resolve() != Path(package[0]).resolve() else []
    package[1:] = [str(folder.absolute()) for folder in _folders]
    importlib.invalidate_caches()


def in_folder() -> list[FoundClass]:
    """The classes in the user's folder that may be variants and have not been imported."""
    return [found for folder in _folders for found in classes_in(folder) if _find(found.name) is None]


def load_named(text: str) -> None:
    """Import the variants in the user's folder that a text, such as a command line, names."""
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


def load_built_ins(package: str, paths: Sequence[str], version: str) -> None:
    """Import every module of the `variants` package, so that a file dropped into it is registered."""
    for module in pkgutil.iter_modules(paths, prefix=f"{package}."):
        source = Origin(BUILT_IN_DISTRIBUTION, version, module.name)
        stem = module.name.rpartition(".")[2]
        _import_plugins(source, {stem: partial(importlib.import_module, module.name)})


def lookup(name: str) -> type[Variant] | None:
    """The class registered under exactly this name, if any. Plugins are loaded only for an unknown name."""
    if name not in _classes:
        load_plugins()
    return _classes.get(name)


def load_plugins() -> None:
    """Import the variants of installed packages, once, in the order of package, module and entry point."""
    if not _loading:
        _load_plugins()


@cache
def _load_plugins() -> None:
    _loading.append(True)  # a plugin may ask for variants while it is imported
    try:
        for source, group in groupby(sorted(_entry_points(), key=_order), key=_source_of):
            _import_plugins(source, {found.name: partial(_register_loaded, found) for found in group})
    finally:
        _loading.clear()


def _entry_points() -> Iterator[EntryPoint]:
    yield from entry_points(group=ENTRY_POINT_GROUP)


def _source_of(entry_point: EntryPoint) -> Origin:
    package = entry_point.dist
    return Origin(package.name if package else "", package.version if package else "", entry_point.module)


def _order(entry_point: EntryPoint) -> tuple[str, ...]:
    source = _source_of(entry_point)
    return source.distribution.lower(), source.version, source.module, entry_point.name


def _register_loaded(entry_point: EntryPoint) -> None:
    loaded = entry_point.load()
    if isinstance(loaded, type) and issubclass(loaded, Variant):
        register(loaded)
    elif not isinstance(loaded, ModuleType):  # a module registers its variants itself
        raise VariantError(f"its entry point {entry_point.value!r} is neither a variant nor a module")


def _import_plugins(source: Origin, loaders: Mapping[str, Callable[[], object]]) -> None:
    """Import the variants of one module and record their origin. If that fails, print one warning."""
    failed: dict[str, list[str]] = {}
    for name, load in loaders.items():
        before = set(_classes)
        try:
            with redirect_stdout(StringIO()):  # prints of a plugin must not end up in the output of `variants --json`
                load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a plugin does, only the plugin is broken
            for added in set(_classes) - before:
                del _classes[added], _origins[added]
            _broken[f"{name} {source}"] = BrokenPlugin(name, source, error)
            failed.setdefault(describe(error), []).append(name)
        for added in set(_classes) - before:
            _origins[added] = replace(source, module=_classes[added].__module__)
    for reason, names in failed.items():
        plugins = "plugin" if len(names) == 1 else f"{len(names)} plugins"
        listed = ", ".join(map(repr, names))
        print(f"lit-cifar: the variant {plugins} {listed} from {source} can't be used: {reason}", file=sys.stderr)


def _load_from_folder(name: str) -> str | None:
    """Import the file in the user's folder that defines this variant. Returns the variant's exact name."""
    found = next((found for found in in_folder() if found.name.lower() == name.lower()), None)
    if found is None:
        return None
    source = Origin("", "", found.module, str(found.path))
    _import_plugins(source, {found.name: partial(_register_from_file, found)})
    if _find(name) and multiprocessing.parent_process() is None:  # the parent of a worker process has printed it
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


def class_path(variant_class: type[Variant]) -> str:
    """The full dotted name of a variant class."""
    return f"{variant_class.__module__}.{variant_class.__qualname__}"


def registered_as(variant_class: type[Variant]) -> str | None:
    """The name under which exactly this class is registered, if any."""
    name = _find(variant_class.__name__)
    return name if name is not None and _classes[name] is variant_class else None


def can_be_named(variant_class: type[Variant]) -> bool:
    """Whether the class's name belongs to this class in the registry, and its module is still imported."""
    own = _classes.get(variant_class.__name__, variant_class) is variant_class
    return own and variant_class.__module__ in sys.modules


def registered() -> Mapping[str, type[Variant]]:
    """The registered classes by name, plugins included."""
    load_plugins()
    return _classes


def _find(name: str) -> str | None:
    return next((known for known in _classes if known.lower() == name.lower()), None)


def _is_same_class(known: type[Variant], other: type[Variant]) -> bool:
    return known is other or (class_path(known) == class_path(other) and known.__doc__ == other.__doc__)

"""Converts variants to plain data for checkpoints, and back, including data that older versions have written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from variants.base import Variant
from variants.errors import VariantError
from variants.plain import from_plain, to_plain, type_hints
from variants.registry import (
    BUILT_IN_DISTRIBUTION,
    Origin,
    class_path,
    origin,
    registered,
    registered_as,
)


@dataclass(frozen=True)
class Recalled:
    """A variant class, and what a checkpoint says about its hyperparameters.

    Args:
        variant_class: The class to be used for the one in the checkpoint.
        init_args: Hyperparameters of the checkpoint that the class takes, after migration, as plain data.
        unknown: Hyperparameters of the checkpoint that it doesn't take.
    """

    variant_class: type[Variant]
    init_args: Mapping[str, Any]
    unknown: Mapping[str, Any]

    def values(self) -> dict[str, Any]:
        """The hyperparameters with the types that the constructor states: enum members, paths, dataclasses, tuples."""
        hints = type_hints(self.variant_class, self.init_args)
        return {name: from_plain(value, hints.get(name)) for name, value in self.init_args.items()}


def to_spec(variant: Variant) -> dict[str, Any]:
    """A variant as plain data: class path, init arguments, distribution and version."""
    where = _origin(type(variant))
    return {
        "class_path": class_path(type(variant)),
        "init_args": {name: _plain(name, value) for name, value in variant.init_args.items()},
        "distribution": where.distribution,
        "version": where.version,
    }


def from_spec(spec: Mapping[str, Any], variant_class: type[Variant] | None = None) -> Variant:
    """Rebuild a variant from the data of `to_spec`. Nothing is imported.

    Args:
        spec: The data.
        variant_class: The class to use. Default: the registered class that the data names.

    Raises:
        VariantError: If the class isn't registered, or doesn't take these arguments any more.
    """
    recalled = recall(spec, variant_class or class_of(spec))
    if recalled.unknown:
        raise VariantError(_changed(spec, recalled.variant_class, f"it doesn't take {', '.join(recalled.unknown)}"))
    try:
        return recalled.variant_class(**recalled.values())
    except (TypeError, ValueError, KeyError) as error:
        raise VariantError(_changed(spec, recalled.variant_class, str(error))) from error


def recall(spec: Mapping[str, Any], variant_class: type[Variant]) -> Recalled:
    """The hyperparameters in the data of `to_spec` that a class takes. The data may describe another class."""
    init_args = variant_class.migrate(dict(spec.get("init_args", {})), str(spec.get("version", "")))
    takes = variant_class.hyperparameters()
    return Recalled(
        variant_class,
        {name: value for name, value in init_args.items() if name in takes},
        {name: value for name, value in init_args.items() if name not in takes},
    )


def class_of(spec: Mapping[str, Any]) -> type[Variant]:
    """The registered class that the data of `to_spec` names, by its class path or an alias.

    Raises:
        VariantError: If there is none.
    """
    wanted = str(spec.get("class_path", ""))
    classes = sorted(registered().values(), key=lambda known: class_path(known) != wanted)  # before its alias
    found = next((known for known in classes if wanted in (class_path(known), *known.aliases)), None)
    if found is not None:
        return found
    distribution = spec.get("distribution")
    remedy = (
        f"Install it: pip install '{distribution}=={spec.get('version')}'."
        if distribution and distribution != BUILT_IN_DISTRIBUTION
        else f"If you trust it, give it yourself: variant={wanted}()"
    )
    raise VariantError(f"The variant {wanted!r} is not registered here. {remedy}")


def _plain(name: str, value: Any) -> Any:
    try:
        return to_plain(value)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None


def _origin(variant_class: type[Variant]) -> Origin:
    name = registered_as(variant_class)
    return origin(name) if name else Origin("", "", variant_class.__module__)


def _changed(spec: Mapping[str, Any], variant_class: type[Variant], why: str) -> str:
    """One line for a class that has changed since the data was written."""
    name, here = variant_class.__name__, _origin(variant_class)
    before = f"{spec.get('distribution') or class_path(variant_class)} {spec.get('version') or ''}".strip()
    now = f"{here.distribution} {here.version}".strip() or class_path(variant_class)
    return (
        f"The variant {name} was saved by {before}; here is {now}, and {why}. It takes "
        f"{', '.join(variant_class.hyperparameters())}. Name the variant and its new values yourself, and the others "
        f"are taken over: variant={registered_as(variant_class) or class_path(variant_class)}(…)"
    )

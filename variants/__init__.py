"""The variants: one small file each, and the registry that finds them by name.

Add a technique by dropping a file like `elu.py` in here, or publish it as a package with an entry point in the group
`lit_cifar.variants`.
"""

from variants import registry as _registry
from variants.base import DenseVariant, Scaling, Variant, at_least, one_of, probability, share
from variants.errors import VariantError, describe, printable
from variants.folder import FoundClass
from variants.registry import (
    ENTRY_POINT_GROUP,
    BrokenPlugin,
    Origin,
    available,
    broken,
    class_path,
    get,
    in_folder,
    load_named,
    origin,
    register,
    unknown_name_message,
    use_folder,
)
from variants.specs import Recalled, class_of, from_spec, recall, to_spec

__version__ = "0.1.0"

__all__ = [
    "ENTRY_POINT_GROUP",
    "BrokenPlugin",
    "DenseVariant",
    "FoundClass",
    "Origin",
    "Recalled",
    "Scaling",
    "Variant",
    "VariantError",
    "at_least",
    "available",
    "broken",
    "class_of",
    "class_path",
    "describe",
    "from_spec",
    "get",
    "in_folder",
    "load_named",
    "one_of",
    "origin",
    "printable",
    "probability",
    "recall",
    "register",
    "share",
    "to_spec",
    "unknown_name_message",
    "use_folder",
]


def __getattr__(name: str) -> type[Variant]:
    """A registered variant class by its name, so that `from variants import ELU` works, also for plugins."""
    found = None if name.startswith("_") else _registry.lookup(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found


_registry.load_built_ins(__name__, __path__, __version__)

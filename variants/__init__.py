"""The variants: one small file each, and the registry that finds them by name.

Add a technique by dropping a file like `elu.py` in here, or publish it as a package with an entry point in the group
`lit_cifar.variants`.
"""

from variants import registry as _registry
from variants.base import DenseVariant, Scaling, Variant, at_least, one_of, probability, share
from variants.folder import FoundClass
from variants.registry import (
    ENTRY_POINT_GROUP,
    BrokenPlugin,
    Origin,
    VariantError,
    available,
    broken,
    from_spec,
    get,
    in_folder,
    load_named,
    origin,
    register,
    to_spec,
    unknown_name_message,
    use_folder,
)

__version__ = "0.1.0"

__all__ = [
    "ENTRY_POINT_GROUP",
    "BrokenPlugin",
    "DenseVariant",
    "FoundClass",
    "Origin",
    "Scaling",
    "Variant",
    "VariantError",
    "at_least",
    "available",
    "broken",
    "from_spec",
    "get",
    "in_folder",
    "load_named",
    "one_of",
    "origin",
    "probability",
    "register",
    "share",
    "to_spec",
    "unknown_name_message",
    "use_folder",
]

_registry.load_built_ins(__name__, __path__, __version__)

"""Makes `import variants` find lit_cifar's own package, even where the current folder has a `variants/` folder.

Python would take such a folder for the package: in a worker process, and with `python -m lit_cifar`, the current folder
comes before an editable installation.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parents[2] / "variants"
"""The package that is installed beside lit_cifar."""


class OwnVariants(MetaPathFinder):
    """Finds the package `variants` beside lit_cifar, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "variants":
            return None
        return spec_from_file_location(fullname, PACKAGE / "__init__.py", submodule_search_locations=[str(PACKAGE)])


def use_own_variants() -> None:
    """Let Python find lit_cifar's own `variants` before anything else of that name."""
    if not any(isinstance(finder, OwnVariants) for finder in sys.meta_path):
        sys.meta_path.insert(0, OwnVariants())

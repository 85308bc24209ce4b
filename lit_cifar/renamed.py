"""Old names of modules that have moved. Plugins and `config.yaml` files of earlier versions contain them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

RENAMED = {
    "lit_cifar.datamodule": "lit_cifar.data.datamodule",
    "lit_cifar.module": "lit_cifar.training.module",
    "lit_cifar.optimizers": "lit_cifar.speed.fused_nadam",
    "lit_cifar.scaling": "lit_cifar.data.normalization",
    "lit_cifar.sources": "lit_cifar.data.sources",
    "lit_cifar.errors": "lit_cifar.utils.errors",
    "lit_cifar.callbacks.learning_rate": "lit_cifar.callbacks.learning_rate_logger",
    "lit_cifar.callbacks.test_figures": "lit_cifar.callbacks.error_figures",
    "lit_cifar.callbacks.test_pictures": "lit_cifar.callbacks.error_figures",
}


class RenamedModules(MetaPathFinder, Loader):
    """Imports the new module when an old name is asked for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in RENAMED else None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(RENAMED[module.__name__])


def support_old_names() -> None:
    """Let Python import the moved modules by their old names as well."""
    if not any(isinstance(finder, RenamedModules) for finder in sys.meta_path):
        sys.meta_path.append(RenamedModules())

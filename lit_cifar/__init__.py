"""lit_cifar: what does a training technique really buy? Deep dense networks on CIFAR-10, one variant at a time."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lit_cifar.renamed import support_old_names
from lit_cifar.utils.own_variants import use_own_variants

if TYPE_CHECKING:
    from lit_cifar.api.comparison import Comparison, compare
    from lit_cifar.api.evaluation import TestResult, predict, test
    from lit_cifar.api.search import find_learning_rate
    from lit_cifar.api.training import TrainingResult, fit, trainer
    from lit_cifar.data.datamodule import CIFAR10DataModule
    from lit_cifar.training.module import LitClassifier
    from lit_cifar.uncertainty import mc_predict
    from variants import Variant

__version__ = "0.1.0"

__all__ = [
    "CIFAR10DataModule",
    "Comparison",
    "LitClassifier",
    "TestResult",
    "TrainingResult",
    "Variant",
    "compare",
    "find_learning_rate",
    "fit",
    "mc_predict",
    "predict",
    "test",
    "trainer",
]

_MODULES = {
    "CIFAR10DataModule": "lit_cifar.data.datamodule",
    "Comparison": "lit_cifar.api.comparison",
    "LitClassifier": "lit_cifar.training.module",
    "TestResult": "lit_cifar.api.evaluation",
    "TrainingResult": "lit_cifar.api.training",
    "Variant": "variants",
    "compare": "lit_cifar.api.comparison",
    "find_learning_rate": "lit_cifar.api.search",
    "fit": "lit_cifar.api.training",
    "mc_predict": "lit_cifar.uncertainty",
    "predict": "lit_cifar.api.evaluation",
    "test": "lit_cifar.api.evaluation",
    "trainer": "lit_cifar.api.training",
}
"""Where each public name is defined. Modules are imported on first use, so that `lit-cifar --help` needs no torch."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lit_cifar' has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


support_old_names()
use_own_variants()

"""`lit_cifar.find_learning_rate`."""

from __future__ import annotations

from copy import deepcopy
from inspect import signature
from typing import Any

from lightning import seed_everything

from lit_cifar.api.arguments import as_classifier, as_data, check_options
from lit_cifar.api.quiet import quiet_lightning
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.lr_find import search
from lit_cifar.lr_find.search import LearningRateSearch
from lit_cifar.training.module import LitClassifier
from variants import Variant


def find_learning_rate(
    variant: str | Variant | LitClassifier,
    data: CIFAR10DataModule | None = None,
    *,
    confirm: int = 5,
    confirm_epochs: int = 3,
    min_lr: float = 1e-6,
    max_lr: float = 1.0,
    steps: int = 300,
    **trainer_options: Any,
) -> LearningRateSearch:
    """Search a learning rate on the training and validation images, as `lit-cifar lr-find` does.

    Args:
        variant: A variant, its name, or a LitClassifier that hasn't been trained.
        data: The images. Default: CIFAR-10.
        confirm: Number of short trainings around the suggestion of the range test, the best of which decides; 0 trusts
            the range test.
        confirm_epochs: Epochs of each short training.
        min_lr: Lowest learning rate of the range test.
        max_lr: Highest learning rate of the range test.
        steps: Number of batches of the range test.
        trainer_options: Further arguments of Lightning's Trainer.

    Returns:
        The search; its `learning_rate` is the answer.

    Examples:
        >>> import lit_cifar
        >>> data = lit_cifar.CIFAR10DataModule(source="synthetic", val_size=100, batch_size=32)
        >>> search = lit_cifar.find_learning_rate("BatchNorm", data, confirm=1, confirm_epochs=1, steps=60)
        >>> 1e-6 < search.learning_rate < 1
        True
    """
    check_options(trainer_options, signature(find_learning_rate).parameters)
    fresh, data = as_classifier(variant), as_data(data)

    def make(learning_rate: float | None) -> tuple[LitClassifier, CIFAR10DataModule]:
        seed_everything(data.seed, verbose=False)
        model = deepcopy(fresh)
        model.learning_rate = learning_rate or model.learning_rate
        return model, data

    with quiet_lightning():
        return search.find_learning_rate(
            make,
            confirm=confirm,
            confirm_epochs=confirm_epochs,
            min_lr=min_lr,
            max_lr=max_lr,
            steps=steps,
            **trainer_options,
        )

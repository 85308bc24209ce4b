"""Arguments of `import lit_cifar`'s functions, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any

from lightning import Trainer

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.messages import OTHER_WORDS
from lit_cifar.utils.suggestions import did_you_mean
from variants import Variant

OF_CLASSIFIER = frozenset(signature(LitClassifier).parameters) - {"variant"}
OF_TRAINER = frozenset(signature(Trainer).parameters)


def check_options(given: Mapping[str, Any], own: Iterable[str] = ()) -> None:
    """Check that further arguments of a function are those of Lightning's Trainer.

    Args:
        given: The further arguments.
        own: The function's own arguments, for suggestions.

    Raises:
        UserError: If one isn't.
    """
    for name, value in given.items():
        if name in OF_TRAINER:
            continue
        if (known := OTHER_WORDS.get(name, name)) in OF_CLASSIFIER:
            raise UserError(
                f"{known}={value!r} is an argument of LitClassifier: give LitClassifier(SELU(), {known}=…) in place of "
                "the variant."
            )
        meant = did_you_mean(name, sorted(own), cutoff=0.5) or did_you_mean(
            name, sorted(OF_TRAINER | OF_CLASSIFIER), cutoff=0.5
        )
        raise UserError(f"{name}={value!r}: there is no such argument.{meant}")


def check_epochs(**given: int) -> None:
    """Check that numbers of epochs are whole numbers of at least 1.

    Raises:
        UserError: If one isn't.
    """
    for name, value in given.items():
        if not isinstance(value, int):
            raise UserError(f"{name}={value!r} is no whole number.")
        if value < 1:
            raise UserError(f"{name}={value} is too small: use at least 1.")


def check_data(given: CIFAR10DataModule | None) -> None:
    """Check that images are a data module, or that none are given.

    Raises:
        UserError: If it is something else.
    """
    if given is not None and not isinstance(given, CIFAR10DataModule):
        raise UserError(
            f"data={given!r} is no CIFAR10DataModule. For pictures in folders give "
            'CIFAR10DataModule(source="folder", data_dir=…).'
        )


def as_data(given: CIFAR10DataModule | None) -> CIFAR10DataModule:
    """The images; CIFAR-10 if none are given."""
    check_data(given)
    return given or CIFAR10DataModule()


def as_classifier(variant: str | Variant | LitClassifier) -> LitClassifier:
    """The classifier itself, or one for a variant or the name of a variant."""
    if isinstance(variant, LitClassifier):
        return variant
    return LitClassifier(variants.get(variant)() if isinstance(variant, str) else variant)

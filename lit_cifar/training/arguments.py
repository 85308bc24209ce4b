"""Checks the arguments of LitClassifier."""

from __future__ import annotations

from typing import Literal, get_args

from lit_cifar.utils.errors import UserError
from variants import Variant

MatmulPrecision = Literal["highest", "high", "medium"]
MATMUL_PRECISIONS = get_args(MatmulPrecision)


def check_arguments(
    *,
    learning_rate: float | None,
    warmup_epochs: int,
    l1: float,
    sparsity: float,
    max_norm: float | None,
    mc_samples: int,
    matmul_precision: str,
) -> None:
    """Check that each argument is in its range.

    Raises:
        UserError: If one is not.
    """
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise UserError(f"learning_rate={learning_rate} is out of range: give a number above 0, like 1e-3.")
    if warmup_epochs < 0:
        raise UserError(f"warmup_epochs={warmup_epochs} is negative: use 0 for no warm-up.")
    if l1 < 0:
        raise UserError(f"l1={l1} is too small: use a number above 0, or 0 for no penalty.")
    if not 0 <= sparsity < 1:
        raise UserError(f"sparsity={sparsity} is out of range: give a share of at least 0 and below 1.")
    if max_norm is not None and not 0 < max_norm < float("inf"):
        raise UserError(f"max_norm={max_norm} is out of range: give a number above 0, such as 3.")
    if mc_samples < 0:
        raise UserError(f"mc_samples={mc_samples} is too small: use 1 or more, or 0 for no MC dropout.")
    if matmul_precision not in MATMUL_PRECISIONS:
        raise UserError(f"matmul_precision={matmul_precision!r} is unknown: use {', '.join(MATMUL_PRECISIONS)}.")


def check_variant(variant: object) -> None:
    """Check that a variant can be built from.

    Raises:
        UserError: If it is a class or something else, or was made without its base class's constructor.
    """
    if isinstance(variant, type):
        raise UserError(f"variant={variant.__name__} is a class: give an object of it, {variant.__name__}().")
    if not isinstance(variant, Variant):
        raise UserError(f"variant={variant!r} is no variant: give an object such as SELU().")
    if not hasattr(variant, "scaling"):
        name = type(variant).__name__
        raise UserError(f"{name}.__init__ must call super().__init__(), which keeps the arguments of its base class.")

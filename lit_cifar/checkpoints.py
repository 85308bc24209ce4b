"""What lit_cifar adds to Lightning's checkpoints, and how they are read: plain data, never pickled code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import lit_cifar
import variants
from lit_cifar.errors import UserError

KEY = "lit_cifar"


def describe(variant: variants.Variant, class_names: Sequence[str], learning_rate: float) -> dict[str, Any]:
    """Everything besides the weights that rebuilds a classifier, as plain data."""
    return {
        "version": lit_cifar.__version__,
        "variant": variants.to_spec(variant),
        "class_names": list(class_names),
        "learning_rate": learning_rate,
    }


def description(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What `describe` wrote into a checkpoint.

    Raises:
        UserError: if the checkpoint was not written by lit_cifar.
    """
    described = checkpoint.get(KEY)
    if not isinstance(described, dict) or not {"variant", "class_names", "learning_rate"} <= described.keys():
        raise UserError("The checkpoint was not written by lit-cifar: it names no variant. Train one: lit-cifar fit.")
    return described


def read(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, tensors on the CPU; code in it is refused, not run.

    Raises:
        UserError: if there is no such file, or it is not a readable checkpoint of plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}. Look for one: ls logs/fit/*/*/checkpoints/best.ckpt.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is not a checkpoint of plain data, so it was not loaded: {reason}") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is not a readable checkpoint; it may be cut off: {reason}") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise UserError(f"{path} is not a Lightning checkpoint: it holds no weights (state_dict).")
    return content

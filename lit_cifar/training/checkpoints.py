"""What lit_cifar adds to Lightning's checkpoints, and how they are read: plain data, never pickled code."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

import lit_cifar
import variants
from lit_cifar.training.checkpoint_checks import check_form, check_not_compressed, check_version, is_description
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import replaced_when_complete

KEY = "lit_cifar"


def describe(
    variant: variants.Variant, class_names: Sequence[str], learning_rate: float, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything besides the weights that rebuilds a classifier, as plain data.

    Args:
        variant: The recipe of its network.
        class_names: Names of the classes.
        learning_rate: The learning rate it was trained with.
        data: Arguments of CIFAR10DataModule that give the images it was trained with.
    """
    return {
        "version": lit_cifar.__version__,
        "variant": variants.to_spec(variant),
        "class_names": list(class_names),
        "learning_rate": learning_rate,
        "data": dict(data),
    }


def description(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What `describe` wrote into a checkpoint.

    Raises:
        UserError: if the checkpoint was not written by lit_cifar.
    """
    described: Any = checkpoint.get(KEY)
    if not is_description(described):
        raise UserError("The checkpoint was not written by lit-cifar: it names no variant. Train one: lit-cifar fit.")
    return dict(described)


def read(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, tensors on the CPU; code in it is refused, not run.

    Raises:
        UserError: if there is no such file, or it is not a readable checkpoint of plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}. Look for one: ls logs/fit/*/*/checkpoints/best.ckpt.")
    check_not_compressed(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sparse tensors, which are refused later
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} is not a checkpoint of plain data, so it was not loaded: {_reason(error)}.") from error
    except Exception as error:  # a damaged file can raise anything
        raise UserError(f"{path} is no checkpoint, or it is damaged, such as cut off: {_reason(error)}.") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise UserError(f"{path} is not a Lightning checkpoint: it holds no weights (state_dict).")
    check_form(content, path)
    return content


def _reason(error: Exception) -> str:
    """The first sentence of an error; torch goes on with advice to load any file nevertheless."""
    return f"{type(error).__name__} {error}".partition("\n")[0].partition(". ")[0].rstrip(". ")


class WholeFiles(TorchCheckpointIO):
    """Write checkpoints whole or not at all, and read only plain data.

    Lightning's own way writes to the system's folder for temporary files and moves from there, which between two file
    systems is a copy that can be cut off.
    """

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        content = read(path)
        check_version(content, Path(path))
        return content

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()  # torch would hide in a RuntimeError that the disk is full
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replaced_when_complete(Path(path)) as unfinished:
            unfinished.write_bytes(content.getbuffer())

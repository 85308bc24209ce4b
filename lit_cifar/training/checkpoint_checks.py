"""Checks of checkpoints from any source: each fault is one line, and the file bounds the memory and time they take."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from packaging.version import InvalidVersion, Version
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from lit_cifar.utils.errors import UserError
from lit_cifar.utils.listing import listed

FORM: dict[str, type | tuple[type, ...]] = {
    "state_dict": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "loops": dict,
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
}
"""The types of what Lightning writes into a checkpoint."""

SPARE = 2
"""A network may register so many times as many parameters, and numbers in them, as the file has: some are replaced."""

Build = Callable[[], nn.Module]


def check_not_compressed(path: Path) -> None:
    """Refuse a file whose compressed entries may take far more memory than the file; torch writes none.

    Raises:
        UserError: if an entry is compressed.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        entries = file.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UserError(f"{path} has compressed entries, which torch doesn't write, so it was not loaded.")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise UserError(f"{path} has entries that overlap, which torch doesn't write, so it was not loaded.")


def check_form(content: Mapping[str, Any], path: Path) -> None:
    """Check the types of what Lightning reads from a checkpoint.

    Raises:
        UserError: if something has another type.
    """
    for key, kind in FORM.items():
        if key in content and not isinstance(content[key], kind):
            raise UserError(f"{path} is damaged: its {key!r} is a {type(content[key]).__name__}.")


def check_version(content: Mapping[str, Any], path: Path) -> None:
    """Check that a checkpoint says which version of Lightning wrote it; Lightning's migration needs to know.

    Raises:
        UserError: if it doesn't.
    """
    try:
        Version(content["pytorch-lightning_version"])
    except KeyError:
        raise UserError(f"{path} was not written by Lightning: it doesn't say by which version.") from None
    except InvalidVersion:
        version = content["pytorch-lightning_version"]
        raise UserError(f"{path} is damaged: {version!r:.50} is not a version of Lightning.") from None


def check_weights(state_dict: Mapping[str, Any]) -> None:
    """Check that the weights of a checkpoint are ordinary, finite numbers.

    Raises:
        UserError: naming the first that isn't.
    """
    for name, value in state_dict.items():
        reason = _fault(value)
        if reason:
            raise UserError(f"The checkpoint can't be used: {name} {reason}.")


def _fault(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"is a {type(value).__name__}, not a tensor"
    if value.layout is not torch.strided or value.is_quantized:
        return "is not a dense tensor"
    if value.is_meta:
        return "has no values (it is on the meta device)"
    if value.untyped_storage().nbytes() < value.nbytes:
        return "repeats its values, so it takes more memory than the file"
    if value.is_floating_point() and not value.isfinite().all():
        return "has values that are NaN or infinite: training diverged. Use an earlier checkpoint, such as best.ckpt"
    return ""


def check_size(build: Build, state_dict: Mapping[str, Tensor], described: str) -> None:
    """Check that a network isn't larger than the weights it gets, without allocating memory for it.

    A variant whose `build` needs real tensors is not checked.

    Raises:
        UserError: if it has far more weights.
    """
    most = SPARE * len(state_dict) + 100
    largest = SPARE * sum(value.numel() for value in state_dict.values()) + 1_000_000
    count = numel = 0

    def register(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal count, numel
        count, numel = count + 1, numel + (0 if parameter is None else parameter.numel())
        if count > most or numel > largest:
            raise _TooLargeError

    hook = register_module_parameter_registration_hook(register)
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            build()
    except _TooLargeError:
        raise UserError(
            f"The checkpoint is damaged: it describes {described:.200}, which has far more weights than the file."
        ) from None
    except Exception:  # noqa: BLE001, S110 - the real build reports the error
        pass
    finally:
        hook.remove()


class _TooLargeError(Exception):
    """A network has more weights than it may have."""


def check_fits(model: nn.Module, state_dict: Mapping[str, Tensor], described: str) -> None:
    """Check that a checkpoint's weights have the names and shapes of a model's.

    Raises:
        UserError: naming the first that differs, and how many others do.
    """
    own = {name: list(value.shape) for name, value in model.state_dict().items()}
    theirs = {name: list(value.shape) for name, value in state_dict.items()}
    faults = [f"{name} is missing" for name in own if name not in theirs]
    faults += [f"{name} is unknown" for name in theirs if name not in own]
    faults += [
        f"{name} is {theirs[name]} instead of {shape}"
        for name, shape in own.items()
        if name in theirs and theirs[name] != shape
    ]
    if faults:
        others = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise UserError(f"The checkpoint's weights don't fit {described:.200}: {faults[0]}{others}.")


def is_description(described: Any) -> bool:
    """Whether something has the form of what `lit_cifar.training.checkpoints.describe` gives."""
    if not isinstance(described, Mapping):
        return False
    spec, names, rate = (described.get(key) for key in ("variant", "class_names", "learning_rate"))
    return (
        isinstance(spec, Mapping)
        and isinstance(spec.get("class_path"), str)
        and isinstance(spec.get("init_args"), Mapping)
        and isinstance(names, list)
        and len(names) > 0
        and all(isinstance(name, str) for name in names)
        and isinstance(rate, (int, float))
        and 0 < rate < math.inf
    )


def check_image_shape(known: Sequence[int], given: Sequence[int]) -> None:
    """Check that the data has images of the network's size.

    Args:
        known: Channels, height and width of the images that the network takes.
        given: Those of the data's images.

    Raises:
        UserError: If not.
    """
    if list(known) != list(given):
        raise UserError(
            f"The network takes images of shape {list(known)}; the data has {list(given)}. Use the data it was trained "
            f"on, or image_size={known[-1]}."
        )


def check_classes(known: Sequence[str], given: Sequence[str]) -> None:
    """Check that network and data have the same classes in the same order, because labels are indices.

    Raises:
        UserError: If not.
    """
    if list(known) != list(given):
        raise UserError(
            f"The network knows the classes {listed(known, most=20)}; the data has {listed(given, most=20)}. Use the "
            "data it was trained on."
        )

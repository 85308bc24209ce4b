"""The options of `validate`, `test`, `predict` and `export` that a checkpoint knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

import variants
from lit_cifar.commands.typed import typed_value
from lit_cifar.data.sources import check_known
from lit_cifar.training import checkpoints
from lit_cifar.training.run_folder import config_of
from lit_cifar.utils.errors import UserError


def data_options(arguments: Sequence[str]) -> list[str]:
    """The data that the checkpoint was trained with, as options of the command line.

    If the command line names a source itself, only the size of the images, which the network needs. Empty if the
    checkpoint doesn't know its data: those of earlier versions don't.

    Args:
        arguments: What was typed after the command.

    Raises:
        UserError: if the checkpoint can't be read, or names a source that nobody has typed or installed.
    """
    path = checkpoint_of(arguments)
    if not path:
        return []
    known = checkpoints.description(checkpoints.read(path)).get("data", {})
    if typed_value("--data.source", arguments):
        known = {name: value for name, value in known.items() if name == "image_size"}
    elif (source := str(known.get("source", "cifar10"))) != _of_run(Path(path), "data", "source"):
        check_known(source)
    return [f"--data.{name}={_typed(value)}" for name, value in known.items()]


def checkpoint_of(arguments: Sequence[str]) -> str | None:
    """The checkpoint that the command line names."""
    return typed_value("--ckpt_path", arguments)


def _typed(value: Any) -> Any:
    """A value as it is typed on the command line."""
    return json.dumps(value) if value is None or isinstance(value, (list, dict)) else value


def check_variant(spec: Mapping[str, Any], checkpoint: str | Path) -> None:
    """Refuse a checkpoint's variant that nothing but the checkpoint would have us import.

    A registered variant is known already. A class path of the user's own may be imported if the `config.yaml` beside
    the checkpoint, in this folder's `logs`, names the same: the user has typed it to train the run.

    Raises:
        variants.VariantError: if the variant isn't known.
    """
    if spec["class_path"] != _of_run(Path(checkpoint), "model", "variant", "class_path"):
        variants.from_spec(spec)


def _of_run(checkpoint: Path, *keys: str) -> str | None:
    """What the configuration of the checkpoint's run, in this folder's `logs`, has under some keys."""
    config = config_of(checkpoint)
    if not config.is_file() or not config.resolve().is_relative_to(Path("logs").resolve()):
        return None
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        return str(reduce(getitem, keys, content))
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError) as error:
        raise UserError(f"{config} is not the configuration of a run: {' '.join(str(error).split())}.") from error

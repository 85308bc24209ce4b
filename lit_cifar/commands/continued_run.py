"""Continues a stopped run from its last checkpoint, in its own folder, as the command line asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from lit_cifar.commands.typed import typed_value
from lit_cifar.training.run_folder import CHECKPOINTS, LAST, config_of
from lit_cifar.utils.errors import UserError

FIXED = (
    "model",
    "data.source",  # and source_options
    "data.batch_size",
    "data.val_size",
    "data.train_size",
    "data.seed",
    "data.flip",
    "data.crop_padding",
    "data.cutout",
    "data.mixup",
)
"""Options that can't change during a run."""


def find_continued(arguments: Sequence[str], logs: Path) -> Path | None:
    """The checkpoint from which the command line asks `fit` to continue, if any.

    It is a path, or for `--ckpt_path last` the newest `last.ckpt` of the variant's runs, or of all runs.

    Raises:
        UserError: If there is none, or it isn't in a run's folder.
    """
    command, *options = arguments
    ckpt_path, variant = (typed_value(option, options) for option in ("--ckpt_path", "--model.variant"))
    if command != "fit" or not ckpt_path:
        return None
    path = _newest(logs, variant and variant.rpartition(".")[2]) if ckpt_path == "last" else None
    path = path or Path(ckpt_path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}. Look for one: ls {logs}/*/*/{CHECKPOINTS}/{LAST}.")
    if path.parent.name != CHECKPOINTS or not config_of(path).is_file():
        raise UserError(
            f"A run is continued in its own folder, and {path} is in none: give "
            f"{logs}/<variant>/version_N/{CHECKPOINTS}/{LAST}."
        )
    return path


def check_unchanged(began_with: Namespace, given: Namespace, checkpoint: Path) -> None:
    """Refuse to continue a run with options that make it another run.

    Raises:
        UserError: If an option that can't change differs.
    """
    before, now = (
        {key: value for key, value in vars(options.as_flat()).items() if key.startswith(FIXED)}
        for options in (began_with, given)
    )
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise UserError(
                f"--{key} {now.get(key)} can't continue {checkpoint}, which began with {before.get(key)}: leave the "
                "option out, or --ckpt_path for a new run."
            )


def _newest(logs: Path, variant: str | None) -> Path:
    pattern = f"{variant or '*'}/*/{CHECKPOINTS}/{LAST}"
    found = [path for path in logs.glob(pattern) if config_of(path).is_file()]  # runs from Python have none
    if not found:
        raise UserError(f"--ckpt_path last: there is nothing to continue, no {logs / pattern}. Leave the option out.")
    return max(found, key=lambda path: path.stat().st_mtime)

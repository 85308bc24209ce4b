"""Finds mistakes in paths before the slow imports."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lit_cifar.study.shipped import study_text
from lit_cifar.utils.errors import UserError


def check_paths(command: str, arguments: Sequence[str]) -> None:
    """Check that the files and folders that the command line names exist.

    Raises:
        UserError: Naming the first that doesn't.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in ("--ckpt_path", "--data.pictures", "--data.source", "--data.data_dir", "--study"):
        parser.add_argument(option, dest=option)
    parser.add_argument("--config", "-c", action="append", dest="--config", default=[])
    try:
        given = vars(parser.parse_known_args(list(arguments))[0])
    except argparse.ArgumentError:
        return  # the command's own parser says it better
    if given["--ckpt_path"] and (command, given["--ckpt_path"]) != ("fit", "last"):
        file = "last" if command == "fit" else "best"
        if not Path(given["--ckpt_path"]).exists():
            raise UserError(
                f"There is no checkpoint {given['--ckpt_path']}. Look for one: ls logs/fit/*/*/checkpoints/{file}.ckpt."
            )
    if given["--study"]:
        study_text(given["--study"])
    if given["--data.pictures"]:
        _check("--data.pictures", given["--data.pictures"], "file or folder", "Give a picture or a folder of pictures.")
    if given["--data.source"] == "folder" and given["--data.data_dir"]:
        _check(
            "--data.data_dir", given["--data.data_dir"], "folder", "It should hold train/<class>/ and test/<class>/."
        )
    for path in given["--config"]:
        if not path.lstrip().startswith("{"):
            _check("--config", path, "file", "Write one: lit-cifar fit --print_config > my_config.yaml.")
            _check_text("--config", path)


def _check_text(option: str, path: str) -> None:
    try:
        Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{option} {path}: this is no text. Give a YAML file.") from None
    except IsADirectoryError:
        raise UserError(f"{option} {path} is a folder. Give a YAML file.") from None


def _check(option: str, path: str, kind: str, remedy: str) -> None:
    if not Path(path).exists():
        raise UserError(f"{option} {path}: there is no such {kind}. {remedy}")

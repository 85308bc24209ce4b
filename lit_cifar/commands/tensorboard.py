"""`lit-cifar tensorboard`: TensorBoard on `logs/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tensorboard import program  # type: ignore[import-untyped]

from lit_cifar.commands.typed import typed_value
from lit_cifar.utils.errors import UserError


def tensorboard(arguments: Sequence[str]) -> None:
    """Serve TensorBoard until it is interrupted. Takes TensorBoard's options; the default folder is `logs`."""
    given = typed_value("--logdir", arguments)
    says_where = any(option.startswith(("--logdir", "--help", "-h")) for option in arguments)
    chosen = [] if says_where else ["--logdir", "logs"]
    if chosen and not Path("logs").is_dir():
        raise UserError("There is no folder logs here: train something first, or give --logdir FOLDER.")
    if given and "://" not in given and not Path(given).is_dir():
        raise UserError(f"--logdir {given}: there is no such folder.")
    server = program.TensorBoard()
    server.configure(argv=["lit-cifar tensorboard", *chosen, *arguments])
    if code := server.main():
        raise UserError(f"TensorBoard ended with code {code}.")

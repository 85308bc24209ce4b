"""`lit-cifar tensorboard`: TensorBoard on `logs/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tensorboard import program  # type: ignore[import-untyped]

from lit_cifar.utils.errors import UserError


def tensorboard(arguments: Sequence[str]) -> None:
    """Serve TensorBoard until it is interrupted. Takes TensorBoard's options; the default folder is `logs`."""
    chosen = (
        [] if any(option.startswith(("--logdir", "--help", "-h")) for option in arguments) else ["--logdir", "logs"]
    )
    if chosen and not Path("logs").is_dir():
        raise UserError("There is no folder logs here: train something first, or give --logdir FOLDER.")
    server = program.TensorBoard()
    server.configure(argv=["lit-cifar tensorboard", *chosen, *arguments])
    if code := server.main():
        raise UserError(f"TensorBoard ended with code {code}.")

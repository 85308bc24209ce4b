"""Where things are in the folder of a run."""

from __future__ import annotations

from pathlib import Path

CHECKPOINTS, LAST, CONFIG = "checkpoints", "last.ckpt", "config.yaml"


def run_folder(checkpoint: Path) -> Path:
    """The folder of the run that wrote a checkpoint."""
    return checkpoint.parent.parent


def config_of(checkpoint: Path) -> Path:
    """The file with the options that the checkpoint's run began with."""
    return run_folder(checkpoint) / CONFIG

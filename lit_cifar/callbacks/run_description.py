from __future__ import annotations

import json
import shlex
import sys

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

import variants


class RunDescription(Callback):
    """Put what was run, and on which data, into TensorBoard's Text tab."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        texts = {
            "variant": json.dumps(variants.to_spec(pl_module.variant), indent=1),  # type: ignore[arg-type]
            "data": trainer.datamodule.data_source,  # type: ignore[attr-defined]
            "command": shlex.join(["lit-cifar", *sys.argv[1:]]),
        }
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                for tag, text in texts.items():
                    # Four blanks: TensorBoard reads Markdown, and names may hold anything.
                    logger.experiment.add_text(tag, "\n".join(f"    {line}" for line in text.splitlines()))

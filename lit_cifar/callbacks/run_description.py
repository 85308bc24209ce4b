from __future__ import annotations

import json
import shlex
import sys
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback
from torch.utils.tensorboard import SummaryWriter

import variants
from lit_cifar.training.tensorboard import LAYOUT, writers


class RunDescription(Callback):
    """Write the variant, the data and the command to TensorBoard's Text tab, and lay out its Custom Scalars tab."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data_source = trainer.datamodule.data_source  # type: ignore[attr-defined]
        for writer in writers(trainer):
            describe_run(writer, pl_module.variant, data_source)  # type: ignore[arg-type]
            if stage == "fit":
                writer.add_custom_scalars(LAYOUT)


def describe_run(writer: SummaryWriter, variant: variants.Variant, data_source: str) -> None:
    """Write a run's variant, data and command as texts."""
    texts = {
        "variant": json.dumps(variants.to_spec(variant), indent=1),
        "data": data_source,
        "command": shlex.join(["lit-cifar", *sys.argv[1:]]),
    }
    for tag, text in texts.items():
        writer.add_text(tag, _verbatim(text))


class SaveConfig(SaveConfigCallback):
    """Save a run's configuration as `config.yaml`, as Lightning does, and show it in TensorBoard's Text tab.

    No file is written if the logger has no folder, such as MLflow's with a database or a server. The file of a run that
    is continued is replaced when training goes on, so a run that refuses to go on keeps its file.

    Args:
        arguments: Those of Lightning's class.
        continued: Whether a run is continued.
        options: Those of Lightning's class.
    """

    def __init__(self, *arguments: Any, continued: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.continued = continued

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.save_to_log_dir = trainer.log_dir is not None  # which Lightning asserts
        if not self.continued:
            super().setup(trainer, pl_module, stage)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, "fit")  # it saves once

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for writer in writers(trainer):
            writer.add_text("config", _verbatim(self.parser.dump(self.config)))


def _verbatim(text: str) -> str:
    """Text as a Markdown code block, so that TensorBoard shows it unchanged."""
    return "\n".join(f"    {line}" for line in text.splitlines())

"""`fit`, `validate`, `test` and `predict`: LightningCLI's own commands with one model and one data module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

import variants
from lit_cifar import checkpoints
from lit_cifar.callbacks import (
    EpochTime,
    EvaluationReport,
    LayerStatistics,
    PredictionWriter,
    RestoreBestWeights,
    RunDescription,
    StopOnNonFiniteLoss,
    UncertaintyFigures,
)
from lit_cifar.datamodule import CIFAR10DataModule
from lit_cifar.errors import UserError
from lit_cifar.loggers import run_loggers
from lit_cifar.module import LitClassifier
from lit_cifar.parser import OneLineErrorParser

EVALUATION_COMMANDS = ("validate", "test", "predict")
LOGS = Path("logs")
BEST_CHECKPOINT = {"monitor": "val/loss", "filename": "best", "save_last": True, "enable_version_counter": False}


class LitCifarCLI(LightningCLI):
    """`fit`, `validate`, `test` and `predict` for LitClassifier on CIFAR10DataModule."""

    def __init__(self, args: ArgsType) -> None:
        super().__init__(
            LitClassifier,
            CIFAR10DataModule,
            args=args,
            parser_class=OneLineErrorParser,
            parser_kwargs={"prog": "lit-cifar", "description": "Train and measure a variant on CIFAR-10."},
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            trainer_defaults={
                "max_epochs": 100,
                "callbacks": [
                    EpochTime(),
                    LayerStatistics(),
                    StopOnNonFiniteLoss(),
                    RestoreBestWeights(),
                    RunDescription(),
                    UncertaintyFigures(),
                ],
            },
        )

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        self._preparing = subcommand
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "test":
            parser.set_defaults(verbose=False)  # EvaluationReport prints a better table
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Each command gets the callbacks that it has a use for."""
        if self._preparing == "fit":
            parser.add_lightning_class_args(EarlyStopping, "early_stopping")
            parser.set_defaults({"early_stopping.monitor": "val/loss", "early_stopping.patience": 20})
            parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
            parser.set_defaults({f"checkpoint.{name}": value for name, value in BEST_CHECKPOINT.items()})
        if self._preparing == "test":
            parser.add_lightning_class_args(EvaluationReport, "evaluation")
        if self._preparing == "predict":
            parser.add_lightning_class_args(PredictionWriter, "predictions")

    def _parse_ckpt_path(self) -> None:
        """Fill in what the checkpoint knows; unlike Lightning's own step, never over the command line's words."""
        given = self.config[self.config.subcommand]
        if self.config.subcommand not in EVALUATION_COMMANDS:
            return
        if not given.ckpt_path:
            raise UserError(f"{self.config.subcommand} needs trained weights: give --ckpt_path FILE.")
        described = checkpoints.description(checkpoints.read(given.ckpt_path))
        given.model.learning_rate = described["learning_rate"]
        spec = described["variant"]
        if given.model.variant is None:
            variants.from_spec(spec)  # which must know it: a checkpoint can't make anything be imported
        if given.model.variant is None or given.model.variant.class_path == spec["class_path"]:
            given.model.variant = Namespace(class_path=spec["class_path"], init_args=Namespace(**spec["init_args"]))

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise UserError(str(error)) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer")
        if given["logger"] in (None, True):
            kwargs["logger"] = run_loggers(LOGS / str(self.subcommand), type(self.model.variant).__name__)
        if self.subcommand in EVALUATION_COMMANDS:
            kwargs["enable_checkpointing"] = False
        if given["enable_progress_bar"] is not False:
            kwargs["callbacks"] = [*(given["callbacks"] or []), TQDMProgressBar(refresh_rate=20)]
        return super().instantiate_trainer(**kwargs)

"""`fit`, `validate`, `test` and `predict`: LightningCLI's own commands with one model and one data module."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    Callback,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    ModelSummary,
    OnExceptionCheckpoint,
    ProgressBar,
)
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger

from lit_cifar.callbacks import EvaluationReport, Histograms, PredictionWriter, StopAtOnceOnSignal
from lit_cifar.callbacks.defaults import BEST_CHECKPOINT, EARLY_STOPPING, default_callbacks, resume_callbacks
from lit_cifar.callbacks.epoch_progress_bar import EpochProgressBar
from lit_cifar.callbacks.network_summary import NetworkSummary
from lit_cifar.callbacks.run_description import SaveConfig
from lit_cifar.commands import help  # noqa: A004 - the command line's help
from lit_cifar.commands.checkpoint_options import data_options
from lit_cifar.commands.continued_run import check_unchanged, find_continued
from lit_cifar.commands.fit_outcome import remove_unless_begun, summary
from lit_cifar.commands.recalled_variant import recalled_variant, variant_option
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training import checkpoints
from lit_cifar.training.loggers import EventsFile, new_version, run_loggers
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.run_folder import config_of, run_folder
from lit_cifar.training.run_lock import alone_in_run
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.messages import readable
from lit_cifar.utils.parser import OneLineErrorParser, command_parsers, files_before_options
from lit_cifar.utils.private import private

EVALUATION_COMMANDS = ("validate", "test", "predict")
LOGS = Path("logs")
REFUSED: dict[type[Callback], str] = {
    LearningRateFinder: "it changes the learning rate after config.yaml has been written. Use `lit-cifar lr-find`.",
    BatchSizeFinder: "it changes the batch size after config.yaml has been written. Give --data.batch_size N.",
    BackboneFinetuning: "the networks here have no `backbone`. Write a subclass of BaseFinetuning for your network.",
    OnExceptionCheckpoint: (
        "it makes Lightning continue whatever run left a file there. last.ckpt is saved after each epoch and on a "
        "signal: continue with --ckpt_path last."
    ),
}
"""Callbacks of Lightning that `fit` refuses, and why."""


class LitCifarCLI(LightningCLI):
    """`fit`, `validate`, `test` and `predict` for LitClassifier on CIFAR10DataModule."""

    def __init__(self, args: Sequence[str]) -> None:
        args = self._args = self._complete(args)
        self.continued = find_continued(args, LOGS / "fit")
        self.began_with = [] if self.continued is None else ["fit", "--config", str(config_of(self.continued))]
        self._commands = iter(self.subcommands())
        private("lightning.pytorch.cli:LightningCLI._parse_ckpt_path", "a damaged checkpoint is reported in many lines")
        try:
            super().__init__(
                LitClassifier,
                CIFAR10DataModule,
                args=[*(self.began_with or [args[0], *self._known(args)]), *args[1:]],
                parser_class=OneLineErrorParser,
                parser_kwargs={"prog": "lit-cifar", **self.parser_options()},
                save_config_callback=SaveConfig,
                save_config_kwargs={"overwrite": True, "continued": self.continued is not None},
                seed_everything_default=0,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                trainer_defaults={"max_epochs": 100, "callbacks": default_callbacks()},
            )
        except BaseException:
            if not self.continued and hasattr(self, "trainer"):
                remove_unless_begun(self.trainer)
            raise

    @staticmethod
    def _complete(args: Sequence[str]) -> list[str]:
        """The command line with its files first and, for a checkpoint's hyperparameters, with its variant."""
        command, *typed = args
        named = variant_option(typed) if command in EVALUATION_COMMANDS else []
        return [command, *files_before_options([*named, *typed])]

    @staticmethod
    def parser_options() -> dict[str, dict[str, Any]]:
        """Usage and description of each command."""
        return help.parser_options()

    def setup_parser(self, *args: Any, **kwargs: Any) -> None:
        """Lightning's parsers, with the options that matter first in their help."""
        super().setup_parser(*args, **kwargs)
        for name, parser in command_parsers(self.parser).items():
            help.arrange(parser)
            if name == "test":
                parser.set_defaults(verbose=False)  # EvaluationReport prints a better table

    def _known(self, args: Sequence[str]) -> list[str]:
        """Options that the checkpoint decides where the command line says nothing."""
        return data_options(args[1:]) if args[0] in EVALUATION_COMMANDS else []

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; `--data.seed` is that of `--seed_everything` unless it is given: one seed decides everything."""
        super().parse_arguments(parser, args)
        given = self.config[self.config.subcommand]
        if given.data.seed is None:
            given.data.seed = int(given.seed_everything)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks of each command; Lightning calls this once for each, in the order of `subcommands()`."""
        command = next(self._commands)
        parser.set_defaults({"data.seed": None})
        if command == "fit":
            parser.add_lightning_class_args(EarlyStopping, "early_stopping")
            parser.set_defaults({f"early_stopping.{name}": value for name, value in EARLY_STOPPING.items()})
            parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
            parser.add_lightning_class_args(Histograms, "histograms")
            parser.set_defaults({f"checkpoint.{name}": value for name, value in BEST_CHECKPOINT.items()})
        if command == "test":
            parser.add_lightning_class_args(EvaluationReport, "evaluation")
        if command == "predict":
            parser.add_lightning_class_args(PredictionWriter, "predictions")

    def _parse_ckpt_path(self) -> None:
        """Do nothing: `before_instantiate_classes` reads the checkpoint, and reports a damaged one in one line."""

    def before_instantiate_classes(self) -> None:
        """Fill in what the checkpoint says; unlike in Lightning, the command line has priority."""
        given = self.config[self.config.subcommand]
        if self.config.subcommand not in EVALUATION_COMMANDS:
            self._check_continued(given)
            return
        if not given.ckpt_path:
            raise UserError(f"{self.config.subcommand} needs trained weights: give --ckpt_path FILE.")
        described = checkpoints.description(checkpoints.read(given.ckpt_path))
        given.model.learning_rate = described["learning_rate"]
        typed = self.parser.parse_args(self._args, defaults=False)[self.config.subcommand]
        init_args = vars(typed.get("model.variant.init_args") or Namespace())
        spec, path = described["variant"], given.ckpt_path
        given.model.variant = recalled_variant(spec, given.model.variant, init_args, path)

    def _check_continued(self, given: Namespace) -> None:
        if self.continued is None and given.ckpt_path:
            raise UserError(f"To continue a run, give --ckpt_path {given.ckpt_path} on the command line.")
        if self.continued is not None:
            check_unchanged(self.parser.parse_args(self.began_with).fit, given, self.continued)
            given.ckpt_path = str(self.continued)
            warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # of course it is

    def fit(self, model: LightningModule, datamodule: LightningDataModule, **arguments: Any) -> None:
        """Called in place of the Trainer's `fit`."""
        logger = self.trainer.logger
        is_run = self.trainer.is_global_zero and isinstance(logger, EventsFile)
        with alone_in_run(Path(str(logger.log_dir))) if is_run and logger else nullcontext():
            self.trainer.fit(model, datamodule=datamodule, **arguments)

    def after_fit(self) -> None:
        """Say what came out."""
        if self.trainer.is_global_zero and (text := summary(self.trainer, self.model)):
            print(text)

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except UserError:
            raise
        except ValueError as error:
            raise UserError(readable(str(error))) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self.config_init[self.subcommand]["trainer"]
        if given["logger"] in (None, True):
            kwargs["logger"] = self._loggers()
        elif given["logger"] is False and given["default_root_dir"] is None:
            kwargs["default_root_dir"] = str(self._folder())  # where checkpoints and config.yaml go
        if self.subcommand in EVALUATION_COMMANDS:
            kwargs["enable_checkpointing"] = False
        own = _listed(given["callbacks"])
        if given["enable_model_summary"] is not False and not any(isinstance(it, ModelSummary) for it in own):
            own = [*own, NetworkSummary()]
            kwargs["callbacks"] = own
        if given["enable_progress_bar"] is not False and not any(isinstance(it, ProgressBar) for it in own):
            kwargs["callbacks"] = [EpochProgressBar(), *own]  # first: it vanishes before others print
        kwargs["plugins"] = [*_listed(given["plugins"]), checkpoints.WholeFiles()]
        self.config[self.subcommand].ckpt_path = None  # a run's config.yaml tells of the run, not of its last part
        trainer = super().instantiate_trainer(**kwargs)
        _refuse(trainer.callbacks)  # type: ignore[attr-defined]
        trainer.callbacks += self._last_callbacks()  # type: ignore[attr-defined]
        return trainer

    def _folder(self) -> Path:
        """The folder of a run without a logger."""
        if self.continued:
            return run_folder(self.continued)
        return new_version(LOGS / str(self.subcommand) / type(self.model.variant).__name__)

    def _loggers(self) -> list[Logger]:
        if self.continued:
            folder = run_folder(self.continued)
            step = checkpoints.read(self.continued)["global_step"]
            return run_loggers(folder.parent.parent, folder.parent.name, folder.name, continued_from_step=step)
        loggers = run_loggers(LOGS / str(self.subcommand), type(self.model.variant).__name__)
        return loggers[1:] if self.subcommand == "predict" else loggers  # nothing for TensorBoard

    def _last_callbacks(self) -> list[Callback]:
        """Those that come after all others, whose state they save."""
        return [StopAtOnceOnSignal()] if self.subcommand in EVALUATION_COMMANDS else resume_callbacks()


def _refuse(callbacks: Sequence[Callback]) -> None:
    """Refuse callbacks of Lightning that would change a run behind its `config.yaml`, or can't work here."""
    for callback in callbacks:
        for kind, reason in REFUSED.items():
            if isinstance(callback, kind):
                raise UserError(f"--trainer.callbacks {type(callback).__name__} can't be used: {reason}")


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, (list, tuple)) else [given] if given else []

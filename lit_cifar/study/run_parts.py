"""Builds the objects of a run from its description: model, callbacks and options of the Trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.study.schema import Protocol, Run
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.parser import OneLineErrorParser

SHARED_DATA = {
    "source", "source_options", "data_dir", "urls", "image_size", "seed", "pictures", "batch_size", "val_size",
    "train_size",
}  # fmt: skip
"""Options of the data that are the study's or the protocol's, not a run's."""

DECIDED = {
    "max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "logger", "callbacks", "plugins",
    "default_root_dir",
    "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "num_sanity_val_steps", "log_every_n_steps",
    "devices", "num_nodes", "strategy", "accelerator", "barebones", "fast_dev_run", "use_distributed_sampler",
    "model_registry", "inference_mode", "limit_val_batches", "check_val_every_n_epoch", "val_check_interval",
}  # fmt: skip
"""Options of the Trainer that a study decides itself."""


def check_run(run: Run) -> None:
    """Find the mistakes in a run's description.

    Raises:
        UserError: naming the argument that is wrong.
    """
    if misplaced := sorted(Protocol.model_fields.keys() & run.model.keys()):
        raise UserError(f"{misplaced[0]} is a setting of the run: write it beside `model:`, not below.")
    build_model(run.model)
    build_callbacks(run.callbacks)
    trainer_options(run.trainer)
    parser = OneLineErrorParser()
    parser.add_class_arguments(CIFAR10DataModule, "data", skip=SHARED_DATA)
    _instantiated(parser, {"data": dict(run.data)})


def build_model(arguments: Mapping[str, Any]) -> LitClassifier:
    """A LitClassifier from the arguments that a configuration file has under `model:`.

    Raises:
        UserError: naming the argument that is wrong.
    """
    return model_builder(arguments)()


def model_builder(arguments: Mapping[str, Any]) -> Callable[[], LitClassifier]:
    """A function that builds a new LitClassifier at each call. The arguments are parsed once, which takes longest.

    Args:
        arguments: As for `build_model`.

    Raises:
        UserError: naming the argument that is wrong.
    """
    parser = OneLineErrorParser()
    parser.add_class_arguments(LitClassifier, "model")
    parsed = _parsed(parser, {"model": dict(arguments)})

    def build() -> LitClassifier:
        model: LitClassifier = _instances(parser, parsed).model
        return model

    return build


def build_callbacks(descriptions: Sequence[Mapping[str, Any]]) -> list[Callback]:
    """Callbacks from what a configuration file has under `trainer: callbacks:`.

    Raises:
        UserError: naming the argument that is wrong.
    """
    parser = OneLineErrorParser()
    parser.add_argument("--callbacks", type=list[Callback], default=[])
    callbacks: list[Callback] = _instantiated(parser, {"callbacks": list(map(dict, descriptions))}).callbacks
    if any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks):
        raise UserError(
            "StochasticWeightAveraging averages after the last validation, and a study tests the best epoch's weights: "
            "use lit_cifar.callbacks.EpochWeightAveraging."
        )
    return callbacks


def trainer_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the Trainer, checked and converted to the types it expects. A run is trained on one device.

    Raises:
        UserError: naming the option that is wrong or that a study decides itself.
    """
    parser = OneLineErrorParser()
    parser.add_class_arguments(Trainer, "trainer", skip=DECIDED, instantiate=False)
    parsed = _instantiated(parser, {"trainer": dict(options)}).trainer.as_dict()
    return {"devices": 1, **{name: parsed[name] for name in options}}


def _instantiated(parser: OneLineErrorParser, content: Mapping[str, Any]) -> Any:
    return _instances(parser, _parsed(parser, content))


def _parsed(parser: OneLineErrorParser, content: Mapping[str, Any]) -> Any:
    try:
        return parser.parse_object(content)
    except ValueError as error:
        raise UserError(str(error)) from error


def _instances(parser: OneLineErrorParser, parsed: Any) -> Any:
    try:
        return parser.instantiate(parsed)
    except ValueError as error:
        raise UserError(str(error)) from error

"""The callbacks of every training and test: of `lit-cifar fit` and `test`, of studies, and of a Trainer of your own."""

from __future__ import annotations

from lightning import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lit_cifar.callbacks.best_weights import RestoreBestWeights
from lit_cifar.callbacks.epoch_time import EpochTime
from lit_cifar.callbacks.error_figures import TestFigures
from lit_cifar.callbacks.hparams_row import HParamsRow
from lit_cifar.callbacks.last_checkpoint import LastCheckpoint
from lit_cifar.callbacks.layer_statistics import LayerStatistics
from lit_cifar.callbacks.learning_rate_logger import LearningRateLogger
from lit_cifar.callbacks.network_graph import NetworkGraph
from lit_cifar.callbacks.non_finite_loss import StopOnNonFiniteLoss
from lit_cifar.callbacks.process_state import ProcessState
from lit_cifar.callbacks.run_description import RunDescription
from lit_cifar.callbacks.stop_on_signal import StopOnSignal
from lit_cifar.callbacks.uncertainty_figures import UncertaintyFigures

# checked after each validation: `max_steps` may end an epoch before its validation
EARLY_STOPPING = {"monitor": "val/loss", "patience": 20, "check_on_train_epoch_end": False}
BEST_CHECKPOINT = {"monitor": "val/loss", "filename": "best", "enable_version_counter": False}


def default_callbacks(*, figures: bool = True) -> list[Callback]:
    """Callbacks that log, draw and check, in training and in tests.

    Add them to a Trainer of your own: `Trainer(callbacks=[*default_callbacks(), …])`.

    Args:
        figures: Whether to draw figures for TensorBoard at the end, which takes some seconds.
    """
    drawing: list[Callback] = [NetworkGraph(), TestFigures(), UncertaintyFigures()]
    return [
        EpochTime(),
        LearningRateLogger(),
        LayerStatistics(figures=figures),
        StopOnNonFiniteLoss(),
        RestoreBestWeights(),
        RunDescription(),
        HParamsRow(),
        *(drawing if figures else []),
    ]


def selection_callbacks(*, patience: int = 20) -> list[Callback]:
    """Early stopping on the validation loss, and `best.ckpt` with the weights of its lowest value.

    Args:
        patience: Epochs without a lower validation loss after which training stops.
    """
    return [EarlyStopping(**{**EARLY_STOPPING, "patience": patience}), ModelCheckpoint(**BEST_CHECKPOINT)]  # type: ignore[arg-type]


def resume_callbacks() -> list[Callback]:
    """Callbacks that keep `last.ckpt`, from which a run can be continued. They come after all others."""
    last = LastCheckpoint()
    return [ProcessState(), last, StopOnSignal(last)]

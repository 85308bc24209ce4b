"""Lightning callbacks: logging, figures, checkpoints, early ends, and the reports of `test` and `predict`."""

from lit_cifar.callbacks.best_weights import RestoreBestWeights
from lit_cifar.callbacks.defaults import default_callbacks, resume_callbacks, selection_callbacks
from lit_cifar.callbacks.epoch_time import EpochTime
from lit_cifar.callbacks.epoch_weight_averaging import EpochWeightAveraging
from lit_cifar.callbacks.error_figures import TestFigures, TestPictures
from lit_cifar.callbacks.evaluation_report import EvaluationReport
from lit_cifar.callbacks.histograms import Histograms
from lit_cifar.callbacks.hparams_row import HParamsRow
from lit_cifar.callbacks.last_checkpoint import LastCheckpoint
from lit_cifar.callbacks.layer_statistics import LayerStatistics
from lit_cifar.callbacks.learning_rate_logger import LearningRate, LearningRateLogger
from lit_cifar.callbacks.network_graph import NetworkGraph
from lit_cifar.callbacks.non_finite_loss import NonFiniteLossError, StopOnNonFiniteLoss
from lit_cifar.callbacks.prediction_writer import PredictionWriter
from lit_cifar.callbacks.process_state import ProcessState
from lit_cifar.callbacks.reuse_layers import ReuseLayers
from lit_cifar.callbacks.run_description import RunDescription
from lit_cifar.callbacks.stop_on_signal import StopAtOnceOnSignal, StopOnSignal, StoppedBySignalError
from lit_cifar.callbacks.uncertainty_figures import UncertaintyFigures

__all__ = [
    "EpochTime",
    "EpochWeightAveraging",
    "EvaluationReport",
    "HParamsRow",
    "Histograms",
    "LastCheckpoint",
    "LayerStatistics",
    "LearningRate",
    "LearningRateLogger",
    "NetworkGraph",
    "NonFiniteLossError",
    "PredictionWriter",
    "ProcessState",
    "RestoreBestWeights",
    "ReuseLayers",
    "RunDescription",
    "StopAtOnceOnSignal",
    "StopOnNonFiniteLoss",
    "StopOnSignal",
    "StoppedBySignalError",
    "TestFigures",
    "TestPictures",
    "UncertaintyFigures",
    "default_callbacks",
    "resume_callbacks",
    "selection_callbacks",
]

"""`lit_cifar.test` and `lit_cifar.predict`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
from lightning import Trainer

from lit_cifar.api.arguments import check_data, check_options
from lit_cifar.api.notebook import Figures, Shown, png
from lit_cifar.api.quiet import quiet_lightning
from lit_cifar.api.training import TrainingResult
from lit_cifar.callbacks.collecting import AfterTest, gathered
from lit_cifar.callbacks.error_figures import error_figures
from lit_cifar.callbacks.prediction_writer import prediction_table
from lit_cifar.callbacks.uncertainty_figures import uncertainty_figures
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.sources import check_known
from lit_cifar.evaluation import WAYS, Evaluation, Found, evaluate_predictions
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.network import image_shape
from lit_cifar.utils.errors import UserError

Trained = LitClassifier | TrainingResult | str | Path
"""A trained network: the classifier, what `fit` returned, or the path of a checkpoint."""


@dataclass(frozen=True, eq=False)
class TestResult(Shown):
    """The results of a network on test images.

    Args:
        scores: Accuracy, NLL, Brier score, ECE and AURC (rows) of one pass without dropout and, if there were MC
            samples, of MC dropout (columns).
        evaluation: All scores and curves, as `test.json` has them.
        draw: Draws the figures.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    scores: pd.DataFrame
    evaluation: Evaluation
    draw: Callable[[], Figures]

    @cached_property
    def figures(self) -> Figures:
        """Confusion matrix, worst errors, reliability and others, by name."""
        return self.draw()

    def __repr__(self) -> str:
        return f"{self.evaluation['images']} test images, {self.evaluation['data_source']}\n{self.scores.round(4)}"

    def _html(self) -> str:
        return str(self.scores.round(4).to_html())

    def _pictures(self) -> Mapping[str, bytes]:
        return {name: png(self.figures[name]) for name in ("confusion_matrix", "reliability")}


def test(
    trained: Trained, data: CIFAR10DataModule | None = None, *, mc_samples: int = 0, **trainer_options: Any
) -> TestResult:
    """Measure a trained network on the test images.

    Args:
        trained: The classifier, what `fit` returned, or the path of a checkpoint.
        data: The images. Default: those it was trained with.
        mc_samples: Number of forward passes with dropout active, to be averaged (MC dropout; Gal and Ghahramani 2016,
            arXiv:1506.02142). 0 measures the plain network only.
        trainer_options: Further arguments of Lightning's Trainer.

    Returns:
        Scores, curves and figures.

    Examples:
        >>> import lit_cifar
        >>> data = lit_cifar.CIFAR10DataModule(source="synthetic", val_size=100)
        >>> trained = lit_cifar.fit("AlphaDropout", data, max_epochs=1, progress=False)
        >>> tested = lit_cifar.test(trained, mc_samples=10)
        >>> list(tested.scores.columns)
        ['one pass, no dropout', 'MC dropout']
        >>> list(tested.scores.index)
        ['accuracy', 'nll', 'brier', 'ece', 'aurc']
    """
    model, data = opened(trained, data)
    found = _Found()
    with _mc_samples(model, mc_samples):
        _trainer(callbacks=[found], **trainer_options).test(model, datamodule=data, verbose=False)
        evaluation = {"data_source": data.data_source, **evaluate_predictions(found.values, mc_samples)}
    scores = pd.DataFrame({WAYS[way]: values for way, values in evaluation["scores"].items()})
    return TestResult(scores, evaluation, partial(_drawn, found.values, evaluation, model, data))


def _drawn(found: Found, evaluation: Evaluation, model: LitClassifier, data: CIFAR10DataModule) -> Figures:
    figures = Figures(error_figures(found, data))
    with _mc_samples(model, evaluation["mc_samples"]):
        figures.update(uncertainty_figures(found, model, data))
    return figures


def predict(
    trained: Trained, pictures: str | Path | None = None, *, mc_samples: int = 0, **trainer_options: Any
) -> pd.DataFrame:
    """Name the class of pictures.

    Args:
        trained: The classifier, what `fit` returned, or the path of a checkpoint.
        pictures: A folder of pictures of any size, or one picture. Default: the test images.
        mc_samples: Number of forward passes with dropout active, to be averaged; 0 is the plain network.
        trainer_options: Further arguments of Lightning's Trainer.

    Returns:
        One row per picture: `path`, `label` where it is known, `prediction`, `confidence`, a `probability_` of each
        class, with MC dropout four uncertainties, and an `error` if it couldn't be read.

    Examples:
        >>> import lit_cifar
        >>> data = lit_cifar.CIFAR10DataModule(source="synthetic", val_size=100)
        >>> trained = lit_cifar.fit("ELU", data, max_epochs=1, progress=False)
        >>> predictions = lit_cifar.predict(trained)
        >>> list(predictions.columns)[:4]
        ['path', 'label', 'prediction', 'confidence']
    """
    model, data = opened(trained, None)
    if not isinstance(pictures, str | Path | None):
        raise UserError(f"pictures is a {type(pictures).__name__}: give the path of a folder of pictures, or of one.")
    if pictures is not None:
        data = _data_of(model, pictures=str(pictures))
    with _mc_samples(model, mc_samples):
        trainer = _trainer(**trainer_options)
        batches: Any = trainer.predict(model, datamodule=data)
    return prediction_table(data, gathered(batches, trainer), model.class_names)


def opened(trained: Trained, data: CIFAR10DataModule | None) -> tuple[LitClassifier, CIFAR10DataModule]:
    """The classifier and the images to measure it on."""
    check_data(data)
    if isinstance(trained, TrainingResult):
        return trained.model, data or trained.data
    if not isinstance(trained, Trained):
        raise UserError(
            f"A {type(trained).__name__} is no trained network: give what `fit` returned, a LitClassifier, or the path "
            "of a checkpoint."
        )
    model = trained if isinstance(trained, LitClassifier) else LitClassifier.load_from_checkpoint(trained)
    return model, data or _data_of(model)


def _data_of(model: LitClassifier, **options: Any) -> CIFAR10DataModule:
    """The images that a classifier was trained on, or pictures of their shape."""
    channels, height, width = image_shape(model.built())
    if options and (channels, height) == (3, width):
        return CIFAR10DataModule(**options, image_size=width)
    check_known(str(model.trained_on.get("source", "cifar10")))
    return CIFAR10DataModule(**model.trained_on, **options)


def _trainer(**options: Any) -> Trainer:
    check_options(options, ("data", "pictures", "mc_samples"))
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**(quiet | options))


@contextmanager
def _mc_samples(model: LitClassifier, samples: int) -> Iterator[None]:
    """Predict with so many MC samples, quietly."""
    if not isinstance(samples, int) or samples < 0:
        raise UserError(f"mc_samples={samples!r} is no number of samples: use 1 or more, or 0 for no MC dropout.")
    before, model.mc_samples = model.mc_samples, samples
    try:
        with quiet_lightning():
            yield
    finally:
        model.mc_samples = before


class _Found(AfterTest):
    """Keeps what a test finds of each image."""

    values: Found

    def report(self, trainer: Trainer, pl_module: Any, found: Found) -> None:
        self.values = found

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from lightning import LightningModule, Trainer
from matplotlib.figure import Figure

from lit_cifar import figures
from lit_cifar.callbacks.collecting import AfterTest
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.evaluation import (
    WAYS,
    Found,
    certain_examples,
    evaluate_predictions,
    panels,
    reliability_curves,
    risk_curves,
    sample_curves,
)
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.tensorboard import writers


class UncertaintyFigures(AfterTest):
    """Show in TensorBoard how good the network's uncertainty is.

    Figures: reliability, risk over coverage, the most and least certain images, and with MC dropout the scores by
    number of samples.
    """

    def report(self, trainer: Trainer, pl_module: LightningModule, found: Found) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        for writer in writers(trainer):
            for name, figure in uncertainty_figures(found, cast(LitClassifier, pl_module), data):
                writer.add_figure(f"uncertainty/{name}", figure)


def uncertainty_figures(found: Found, model: LitClassifier, data: CIFAR10DataModule) -> Iterator[tuple[str, Figure]]:
    """The figures of a test's uncertainty, by name."""
    evaluations = {type(model.variant).__name__: [evaluate_predictions(found, model.mc_samples)]}
    source, way, probabilities = data.data_source, "deterministic", found["probabilities"]
    if model.mc_samples:
        way, probabilities = "mc", found["mc_probabilities"]
        yield "samples", figures.accuracy_by_samples(panels(evaluations, sample_curves), source)
    yield "reliability", figures.reliability_diagram(panels(evaluations, reliability_curves), source)
    yield "risk_coverage", figures.risk_coverage(panels(evaluations, risk_curves), source)
    rows = certain_examples(probabilities, found["labels"], data.test_images.images, model.class_names)
    yield "examples", figures.examples(rows, f"The most and least certain images: {WAYS[way]}", source)

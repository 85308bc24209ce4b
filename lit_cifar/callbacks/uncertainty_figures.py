from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

from lightning import LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor

from lit_cifar import figures
from lit_cifar.callbacks.after_test import AfterTest, Found
from lit_cifar.callbacks.evaluation_report import rankings
from lit_cifar.datamodule import CIFAR10DataModule
from lit_cifar.figures import Example
from lit_cifar.module import LitClassifier
from lit_cifar.tensorboard import writers
from lit_cifar.uncertainty import SampleCurve, accuracy, nll, reliability, risk_coverage, sample_curve, sample_points

NAMES = {"deterministic": "one pass, no dropout", "mc": "MC dropout"}
EXAMPLES = 6


class UncertaintyFigures(AfterTest):
    """Show in TensorBoard, at the end of a test, what the network's uncertainty is worth.

    Pictures: reliability, risk over coverage, the most and least certain images, and with MC dropout what more samples
    buy.
    """

    def report(self, trainer: Trainer, pl_module: LightningModule, found: Found) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        for writer in writers(trainer):
            for name, picture in pictures(found, cast(LitClassifier, pl_module), data):
                writer.add_figure(f"uncertainty/{name}", picture)


def pictures(found: Found, model: LitClassifier, data: CIFAR10DataModule) -> Iterator[tuple[str, Figure]]:
    """All figures by name."""
    source, labels = data.data_source, found["labels"]
    kinds = {"deterministic": found["probabilities"]}
    if model.mc_samples:
        kinds["mc"] = found["mc_probabilities"]
        yield "samples", figures.accuracy_by_samples(_sample_curves(found, model.mc_samples), source)
    yield (
        "reliability",
        figures.reliability_diagram({NAMES[kind]: reliability(p, labels) for kind, p in kinds.items()}, source),
    )
    curves = {
        f"{NAMES[kind]}: {name.replace('_', ' ')}": risk_coverage(kinds[kind], labels, uncertainty=uncertainty)
        for kind, by_name in rankings(found).items()
        for name, uncertainty in by_name.items()
        if name in ("confidence", "mutual_information")
    }
    yield "risk_coverage", figures.risk_coverage(curves, source)
    kind, p = list(kinds.items())[-1]
    by_certainty = {
        f"{how} certain, {whether}": examples(p, labels, data.test_images.images, model.class_names, how, whether)
        for how in ("most", "least")
        for whether in ("right", "wrong")
    }
    yield "examples", figures.examples(by_certainty, f"The most and least certain images: {NAMES[kind]}", source)


def _sample_curves(found: Found, mc_samples: int) -> dict[str, SampleCurve]:
    """The scores of more and more samples, and as a level line those of one pass without dropout."""
    labels, p = found["labels"], found["probabilities"]
    level = SampleCurve((1, mc_samples), (accuracy(p, labels),) * 2, (nll(p, labels),) * 2)
    return {
        NAMES["deterministic"]: level,
        NAMES["mc"]: sample_curve(found["mc_after"], labels, sample_points(mc_samples)),
    }


def examples(
    probabilities: Tensor,
    labels: Tensor,
    images: Tensor,
    class_names: tuple[str, ...],
    how: Literal["most", "least"],
    whether: Literal["right", "wrong"],
) -> list[Example]:
    """The images whose predictions are the most or least certain of those that are right, or wrong."""
    confidence, prediction = probabilities.max(1)
    chosen = ((prediction == labels) == (whether == "right")).nonzero().squeeze(1)
    order = confidence[chosen].argsort(descending=how == "most", stable=True)
    return [
        Example(images[index], class_names[labels[index]], class_names[prediction[index]], confidence[index].item())
        for index in chosen[order[:EXAMPLES]].tolist()
    ]

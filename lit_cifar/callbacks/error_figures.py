from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from lightning import LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lit_cifar import figures
from lit_cifar.callbacks.collecting import AfterTest
from lit_cifar.callbacks.layer_statistics import evaluating, layers
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.evaluation import Found
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.tensorboard import writers


class TestFigures(AfterTest):
    """Show a network's errors on the test images in TensorBoard, and its last hidden layer in TensorBoard's projector.

    Figures: confusion matrix, accuracy of each class, and the worst errors, which are the images whose true class got
    the lowest probability. The projector shows the last hidden layer's output for the first images.

    Args:
        embedded_images: Number of images in the projector; 0 for none.
    """

    __test__ = False  # not a test, though pytest would take it for one

    def __init__(self, embedded_images: int = 1000) -> None:
        super().__init__()
        self.embedded_images = embedded_images

    def report(self, trainer: Trainer, pl_module: LightningModule, found: Found) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        for writer in writers(trainer):
            for name, figure in error_figures(found, data):
                writer.add_figure(f"test/{name}", figure)
            if self.embedded_images:
                embed(writer, cast(LitClassifier, pl_module), found, data, self.embedded_images)


def error_figures(found: Found, data: CIFAR10DataModule) -> Iterator[tuple[str, Figure]]:
    """The figures of a test's errors, by name."""
    names, source = data.class_names, data.data_source
    labels, probabilities = found["labels"], found["probabilities"]
    counts = torch.bincount(labels * len(names) + probabilities.argmax(1), minlength=len(names) ** 2)
    matrix = counts.view(len(names), len(names))
    yield "confusion_matrix", figures.confusion_matrix(matrix, names, source)
    yield "class_accuracy", figures.class_accuracy(matrix, names, source)
    yield "worst_errors", figures.worst_errors(data.test_images.images, probabilities, labels, names, source)


def embed(writer: SummaryWriter, model: LitClassifier, found: Found, data: CIFAR10DataModule, count: int) -> None:
    """Write the last hidden layer's output for the first images to the projector, with class and prediction."""
    images = data.test_images.images[: min(count, len(found["labels"]))]
    hidden = last_hidden(model, images.to(model.device))
    if hidden is None:
        return
    pairs = zip(found["labels"][:count].tolist(), found["probabilities"].argmax(1)[:count].tolist(), strict=True)
    rows = [[data.class_names[t], data.class_names[p], "right" if t == p else "wrong"] for t, p in pairs]
    header = ["class", "prediction", "answer"]
    writer.add_embedding(hidden, rows, images / 255, tag="last_hidden_layer", metadata_header=header)


@torch.no_grad()
def last_hidden(model: LitClassifier, images: Tensor) -> Tensor | None:
    """The last layer's input [N, units] for uint8 images [N, C, H, W]; None if it isn't a tensor."""
    seen: list[object] = []
    *_, last = layers(model).values()
    hook = last.register_forward_pre_hook(lambda _module, inputs: seen.extend(inputs[:1]))
    try:
        with evaluating(model):
            model(images)
    finally:
        hook.remove()
    return seen[0].flatten(1) if seen and isinstance(seen[0], Tensor) else None


TestPictures = TestFigures
"""The former name, which `config.yaml` files may contain."""

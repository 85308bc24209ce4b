from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from lit_cifar.callbacks.after_test import AfterTest
from lit_cifar.data.sources import IMAGE_SHAPE
from lit_cifar.data.sources.synthetic import SyntheticSource
from lit_cifar.evaluation import Found, measured, rankings
from lit_cifar.training.module import UNCERTAINTIES, LitClassifier
from lit_cifar.uncertainty import (
    detection_auroc,
)
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import check_writable, write_text

SCORES = {"accuracy": "accuracy", "nll": "NLL", "brier": "Brier score", "ece": "ECE, 15 bins", "aurc": "AURC"}


class EvaluationReport(AfterTest):
    """Print what a test found, MC dropout beside the plain network, and write all of it to `test.json`.

    The file is in the run's folder. In it `deterministic` is one pass without dropout, and `mc` the mean of the MC
    samples (only if there are any):

    - `data_source`, `images`, `mc_samples`.
    - `scores`: for each of both `accuracy`, `nll`, `brier`, `ece` (15 bins) and `aurc`.
    - `risk_coverage`: for each of both and for each uncertainty that ranks the images (`confidence`,
      `predictive_entropy`, …) `aurc` and, at up to 200 places, `coverage` (share of images that are kept, the most
      certain first), `risk` (their error rate) and `retention_error` (errors among all images when the others are
      handed to somebody who knows: the error-retention curve).
    - `reliability`: for each of both by bin of confidence `upper` edge, `count`, mean `confidence` and `accuracy`; null
      where a bin is empty.
    - `samples`: numbers of MC `samples`, and `accuracy` and `nll` of the mean of so many.
    - `detection`: for each kind of foreign images, for each of both and for each uncertainty, how well it tells them
      from the test images: the AUROC; 0.5 is chance.

    Args:
        foreign_images: Number of foreign images of each kind: uniform noise, Gaussian noise, and drawn shapes (unless
            the network knows them). At least 10, or 0 for none.
    """

    def __init__(self, *, foreign_images: int = 1000) -> None:
        super().__init__()
        if foreign_images < 10 and foreign_images != 0:
            raise UserError(f"--evaluation.foreign_images {foreign_images} is too few: use at least 10, or 0 for none.")
        self.foreign_images = foreign_images
        self._path = Path("test.json")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_test_start(trainer, pl_module)
        # here, because Lightning asks all processes for the folder
        self._path = Path(trainer.log_dir or ".") / "test.json"
        check_writable(self._path, "The test's results")

    def report(self, trainer: Trainer, pl_module: LightningModule, found: Found) -> None:
        data, model = trainer.datamodule, cast(LitClassifier, pl_module)  # type: ignore[attr-defined]
        evaluation = {
            "data_source": data.data_source,
            **measured(found, model.mc_samples),
        }
        if self.foreign_images:
            knows_shapes = model.class_names == SyntheticSource().class_names
            kinds = foreign_images(self.foreign_images, synthetic=not knows_shapes)
            evaluation["detection"] = {
                kind: _detection(found, _predicted(model, images)) for kind, images in kinds.items()
            }
        write_text(self._path, json.dumps(evaluation, indent=1))
        print(f"\n{side_by_side(evaluation)}\nCurves and details: {self._path}")


def foreign_images(count: int, *, synthetic: bool = True) -> dict[str, Tensor]:
    """Images of nothing a network was trained on, uint8 [count, 3, 32, 32], by kind; the same ones each time.

    Uniform noise is any colour in any pixel; Gaussian noise varies around grey by a quarter of the range.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (count, *IMAGE_SHAPE)
    kinds = {
        "uniform noise": torch.randint(256, shape, dtype=torch.uint8, generator=generator),
        "Gaussian noise": torch.randn(shape, generator=generator).mul(64).add(128).clamp(0, 255).to(torch.uint8),
    }
    return {**kinds, "drawn shapes": SyntheticSource(test_size=count).test().images} if synthetic else kinds


def side_by_side(evaluation: Mapping[str, Any]) -> str:
    """The scores as a table for people."""
    scores = evaluation["scores"]
    kinds = {"deterministic": "one pass, no dropout", "mc": f"mean of {evaluation['mc_samples']} MC samples"}
    width = max(map(len, kinds.values())) + 2
    lines = [
        f"{evaluation['images']} test images, {evaluation['data_source']}",
        " " * 14 + "".join(f"{kinds[kind]:>{width}}" for kind in scores),
        *(
            f"{label:<14}" + "".join(f"{_number(name, values[name]):>{width}}" for values in scores.values())
            for name, label in SCORES.items()
        ),
    ]
    detection = evaluation.get("detection", {})
    if detection:
        lines += ["", "How well predictive entropy tells foreign images from these: AUROC, 0.5 is chance"]
    for kind, found in detection.items():
        lines.append(f"{kind:<14}" + "".join(f"{by['predictive_entropy']:>{width}.4f}" for by in found.values()))
    return "\n".join(lines)


@torch.no_grad()
def _predicted(model: LitClassifier, images: Tensor) -> Found:
    """What a test finds of uint8 images [N, 3, 32, 32], as far as `rankings` needs it."""
    images = images.to(model.device)
    found = {"probabilities": model(images).softmax(1)}
    if model.mc_samples:
        predicted = model.mc_predict(images)
        found["mc_probabilities"] = predicted.probabilities
        found |= {name: getattr(predicted, name) for name in UNCERTAINTIES}
    return {name: values.cpu() for name, values in found.items()}


def _detection(familiar: Found, foreign: Found) -> dict[str, dict[str, float]]:
    ranked = rankings(foreign)
    return {
        kind: {name: detection_auroc(uncertainty, ranked[kind][name]) for name, uncertainty in by_name.items()}
        for kind, by_name in rankings(familiar).items()
    }


def _number(name: str, value: float) -> str:
    return f"{100 * value:.2f} %" if name == "accuracy" else f"{value:.4f}"

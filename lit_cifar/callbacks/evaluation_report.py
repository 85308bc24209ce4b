from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lightning import LightningModule, Trainer

from lit_cifar.callbacks.collecting import AfterTest
from lit_cifar.data.out_of_distribution import out_of_distribution_images
from lit_cifar.data.sources.synthetic import SyntheticSource
from lit_cifar.evaluation import SCORES, Found, evaluate_network
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.network import image_shape
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import check_writable, write_text


class EvaluationReport(AfterTest):
    """Print the scores of a test, MC dropout beside the plain network, and write all results to `test.json`.

    The file is in the run's folder. `deterministic` is one pass without dropout, `mc` the mean of the MC samples, if
    there are any:

    - `data_source`, `images` (their number), `mc_samples`.
    - `scores`: for each way to predict `accuracy`, `nll`, `brier`, `ece` (15 bins) and `aurc`.
    - `risk_coverage`: for each way and each uncertainty that ranks the images (`confidence`, `predictive_entropy`, …)
      `aurc` and, at up to 200 points, `coverage` (share of images that are kept, the most certain first), `risk`
      (their error rate) and `retention_error` (errors among all images if the others are labelled correctly by an
      oracle: the error-retention curve).
    - `reliability`: for each way, by bin of confidence, the `upper` edge, `count`, mean `confidence` and `accuracy`;
      null where a bin is empty.
    - `samples`: numbers of MC `samples`, and `accuracy` and `nll` of their mean.
    - `detection`: for each kind of out-of-distribution images, each way and each uncertainty, the AUROC of telling them
      from the test images; 0.5 is chance.
    - `shift`: for each severity, in studies that test on corrupted images, the scores of each way.

    Args:
        ood_images: Number of out-of-distribution images of each kind: uniform noise, Gaussian noise, and drawn shapes
            (unless the network was trained on them). At least 10, or 0 for none.
        foreign_images: The former name of `ood_images`.
    """

    def __init__(self, *, ood_images: int = 1000, foreign_images: int | None = None) -> None:
        super().__init__()
        self.ood_images = ood_images if foreign_images is None else foreign_images
        if self.ood_images < 10 and self.ood_images != 0:
            raise UserError(f"ood_images={self.ood_images} is too few: use at least 10, or 0 for none.")
        self._path = Path("test.json")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_test_start(trainer, pl_module)
        # Not in `report`: `log_dir` must be read in all processes.
        self._path = Path(trainer.log_dir or ".") / "test.json"
        check_writable(self._path, "The test's results")

    def report(self, trainer: Trainer, pl_module: LightningModule, found: Found) -> None:
        data, model = trainer.datamodule, cast(LitClassifier, pl_module)  # type: ignore[attr-defined]
        others = None
        if self.ood_images:
            knows_shapes = model.class_names == SyntheticSource().class_names
            shape = image_shape(model.built())
            others = out_of_distribution_images(self.ood_images, synthetic=not knows_shapes, image_shape=shape)
        results = evaluate_network(model.built(), found, mc_samples=model.mc_samples, ood_images=others)
        evaluation = {"data_source": data.data_source, **results}
        write_text(self._path, json.dumps(evaluation, indent=1))
        print(f"\n{side_by_side(evaluation)}\nCurves and details: {self._path}")


def side_by_side(evaluation: Mapping[str, Any]) -> str:
    """The scores as a table."""
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
        lines += ["", "Telling out-of-distribution images from these by predictive entropy: AUROC, 0.5 is chance"]
    for kind, found in detection.items():
        lines.append(f"{kind:<14}" + "".join(f"{by['predictive_entropy']:>{width}.4f}" for by in found.values()))
    return "\n".join(lines)


def _number(name: str, value: float) -> str:
    return f"{100 * value:.2f} %" if name == "accuracy" else f"{value:.4f}"

"""The loss that training minimizes: of the command line, of a variant, compiled and in a stack."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from lightning import Trainer, seed_everything
from torch import Tensor, nn

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.replicas.network import NotStackableError
from lit_cifar.replicas.replica import Replica
from lit_cifar.replicas.stack import TrainedReplica, train_stack
from lit_cifar.training.loss import Loss, check_loss, extra_of, loss_and_totals
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError
from tests.variants.zoo import AuxiliaryHead, Penalized

QUIET: Mapping[str, Any] = {"accelerator": "cpu", "precision": "64-true", "max_epochs": 2}
SMOOTH = nn.CrossEntropyLoss(label_smoothing=0.2)


class Confident(variants.get("ELU")):  # type: ignore[misc]
    """Cross-entropy and a penalty on large logits."""

    def loss(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"entropy": F.cross_entropy(logits, labels), "size": 0.1 * logits.square().mean()}


VARIANTS = {"Confident": Confident(depth=2, width=8), "AuxiliaryHead": AuxiliaryHead(), "Penalized": Penalized()}


def data(pictures: Path) -> CIFAR10DataModule:
    return CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)


def train(
    pictures: Path,
    loss: Loss | None = None,
    name: str = "ELU",
    compile: bool | str = False,  # noqa: A002
) -> tuple[LitClassifier, dict[str, float]]:
    seed_everything(0, verbose=False)
    variant = VARIANTS.get(name) or variants.get(name)(depth=2, width=8)
    model = LitClassifier(variant, learning_rate=1e-3, loss=loss, compile=compile)  # type: ignore[arg-type]
    trainer = Trainer(
        logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        num_sanity_val_steps=0, **QUIET,
    )  # fmt: skip
    trainer.fit(model, datamodule=data(pictures))
    return model, {name: value.item() for name, value in trainer.callback_metrics.items()}


def test_a_loss_and_its_options_are_given_on_the_command_line(
    lit_cifar: Callable[..., tuple[int, str, str]], on_pictures: list[object], workspace: Path, no_figures: None
) -> None:
    smooth = ["--model.loss", "torch.nn.CrossEntropyLoss", "--model.loss.label_smoothing", 0.9]
    # It learns nothing, so that losses stay near ln 3; smoothed and plain ones of equal logits differ.
    short = [
        "--model.variant",
        "ELU",
        "--model.variant.depth",
        1,
        "--model.variant.width",
        8,
        "--trainer.max_epochs",
        2,
    ]
    code, _, err = lit_cifar("fit", *short, *on_pictures, *smooth)
    assert code == 0, err
    config = yaml.safe_load(Path("logs/fit/ELU/version_0/config.yaml").read_text())
    assert config["model"]["loss"]["init_args"]["label_smoothing"] == 0.9
    code, _, err = lit_cifar("fit", "--ckpt_path", "last", "--trainer.max_epochs", 3)
    assert code == 0, err
    assert len(pd.read_csv("logs/fit/ELU/version_0/metrics.csv")["train/loss"].dropna()) == 3


def test_training_minimizes_the_loss_and_validation_reports_cross_entropy(pictures: Path) -> None:
    model, logged = train(pictures, SMOOTH)
    plain, plain_logged = train(pictures)
    assert not torch.equal(model.network.body.output[0].weight, plain.network.body.output[0].weight)  # type: ignore
    assert logged["train/loss"] > plain_logged["train/loss"]
    with torch.no_grad():
        images, labels = next(iter(model.trainer.datamodule.val_dataloader()))  # type: ignore[attr-defined]
        assert logged["val/loss"] == pytest.approx(F.cross_entropy(model(images), labels).item())
        batch = (images, labels)
        assert model.training_step(batch, 0)["loss"].item() == pytest.approx(SMOOTH(model(images), labels).item())


def test_a_variants_own_loss_has_terms_that_are_logged_by_name(pictures: Path) -> None:
    _, logged = train(pictures, name="Confident")
    assert logged["train/loss"] == pytest.approx(logged["train/loss_entropy"] + logged["train/loss_size"])
    assert logged["train/loss_size"] > 0
    assert not any(name.startswith("val/loss_") for name in logged)
    _, overruled = train(pictures, F.cross_entropy, name="Confident")
    _, plain = train(pictures)
    assert overruled == plain


def test_heads_and_penalties_count_in_training_and_are_logged_by_name(pictures: Path) -> None:
    model, logged = train(pictures, name="AuxiliaryHead")
    terms = {name: value for name, value in logged.items() if name.startswith("train/loss_")}
    assert set(terms) == {"train/loss_late", "train/loss_early", "train/loss_penalty"}
    assert logged["train/loss"] == pytest.approx(sum(terms.values()))
    images, labels = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8), torch.arange(4) % 3
    step = model.train().training_step((images, labels), 0)["loss"]
    body, scaled = model.built().body, model.built().scale(images)
    logits, extra = body(scaled)
    expected = F.cross_entropy(logits, labels) + 0.3 * F.cross_entropy(extra["early"], labels)
    expected += 1e-3 * sum(head.weight.square().sum() for head in body.heads)
    assert step.item() == pytest.approx(expected.item())
    assert torch.equal(model(images), logits), "predictions have no extra tensors"


def test_a_penalty_is_added_to_any_loss(pictures: Path) -> None:
    _, logged = train(pictures, SMOOTH, "Penalized")
    assert logged["train/loss"] == pytest.approx(logged["train/loss_main"] + logged["train/loss_decay"])
    with pytest.raises(UserError, match="returns early for the loss, which loss=CrossEntropyLoss doesn't take"):
        train(pictures, SMOOTH, "AuxiliaryHead")


def test_what_a_network_may_return_in_training() -> None:
    class Returns(nn.Module):
        def forward(self, images: Tensor) -> object:
            return images, images

    with pytest.raises(UserError, match="In training mode the network returns a tuple: return logits, or a pair"):
        extra_of(Returns(), torch.zeros(2, 3))


@pytest.mark.compiles
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "loss"), [("ELU", SMOOTH), ("Confident", None), ("AuxiliaryHead", None), ("Penalized", None)]
)
def test_a_loss_is_compiled_with_the_step(name: str, loss: Loss | None, pictures: Path) -> None:
    _, eager = train(pictures, loss, name)
    _, compiled = train(pictures, loss, name, compile=True)
    assert compiled == pytest.approx(eager, rel=1e-6)


def stack_of(pictures: Path, loss: Loss, name: str = "Confident") -> list[TrainedReplica]:
    seeded = StackedDataModule(seeds=[0, 1], source="folder", data_dir=str(pictures), val_size=30, batch_size=16)

    def make(replica: Replica) -> LitClassifier:
        seed_everything(replica.seed, verbose=False)
        return LitClassifier(VARIANTS[name], learning_rate=1e-3, loss=loss, compile=False)

    options = {"accelerator": "cpu", "precision": "64-true"}
    return train_stack(
        make, [Replica("a", 0, 1e-3), Replica("b", 1, 1e-3)], seeded, max_epochs=2, patience=2, **options
    )


@pytest.mark.parametrize(
    ("name", "loss"), [("Confident", SMOOTH), ("Confident", None), ("AuxiliaryHead", None), ("Penalized", SMOOTH)]
)
def test_each_replica_of_a_stack_has_the_loss_it_has_alone(name: str, loss: Loss, pictures: Path) -> None:
    _, logged = train(pictures, loss, name)
    of_stack = stack_of(pictures, loss, name)[0].training.epochs[-1]
    expected = {key: value for key, value in logged.items() if key.startswith(("train/loss", "val/loss"))}
    assert {key: of_stack[key] for key in expected} == pytest.approx(expected)


def test_a_loss_that_looks_at_values_is_not_stacked(pictures: Path) -> None:
    def looks(logits: Tensor, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(logits, labels)
        return loss if loss.item() > 1 else 2 * loss

    with pytest.raises(NotStackableError, match="the network or its loss"):
        stack_of(pictures, looks)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nn.CrossEntropyLoss(reduction="none"), "loss=CrossEntropyLoss must return one number"),
        (nn.MSELoss(), r"loss=MSELoss fails for logits \[2, 3\] and labels \[2\]"),
        (nn.Bilinear(1, 1, 1), "loss=Bilinear has parameters"),
        (lambda *_: 1, "loss=<lambda> fails"),
        (lambda *_: torch.tensor(1.0), "depends on the logits"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_what_is_no_loss_is_refused_in_one_line(loss: Loss, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_loss(loss, 3, soft=False)


def test_class_probabilities_are_labels_too() -> None:
    logits, probabilities = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.75, 0.25]])
    loss, found = loss_and_totals(lambda images: images, (logits, probabilities))
    assert loss.item() == pytest.approx(
        -0.75 * math.log(1 / (1 + math.exp(-2))) - 0.25 * math.log(1 / (1 + math.exp(2)))
    )
    assert found.tolist() == pytest.approx([loss.item(), 1, 1])
    assert check_loss(SMOOTH, 3, soft=True) == ()

"""The files that the test of a run keeps for the report."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from lit_cifar.figures import Example
from lit_cifar.study.artifacts import read_evaluation, read_examples, write_examples
from lit_cifar.study.plan import PlannedRun
from lit_cifar.study.run import execute
from lit_cifar.study.schema import Protocol
from lit_cifar.utils.warnings import drop_unfounded_advice
from variants import DenseVariant


class Drops(nn.Module):
    """Drops by a function."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.4, self.training)


class FunctionalDropout(DenseVariant):
    """Dropout as a function call."""

    def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
        return [dense, nn.ReLU(), Drops()]


class Depths(DenseVariant):
    """Layers that are skipped at random, and declared."""

    def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
        return [dense, nn.ReLU(), StochasticDepth(0.4, "row")]

    def stochastic_layers(self, network: nn.Module) -> list[nn.Module]:
        return [module for module in network.modules() if isinstance(module, StochasticDepth)]


@pytest.mark.parametrize("name", ["FunctionalDropout", "Depths"])
def test_dropout_that_is_no_layer_of_torch_has_mc_columns(name: str, pictures: Path, tmp_path: Path) -> None:
    drop_unfounded_advice()
    row = execute(planned(pictures, f"{__name__}.{name}", 1), tmp_path, lambda *_: None)
    assert row["status"] == "ok", row["reason"]
    assert row["mc_test_nll"] != row["test_nll"]


class Sharpness(Callback):
    """Logs what a study asks about."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("mine/sharpness", 2.5 + trainer.current_epoch)


class Terms(FunctionalDropout):
    """A loss with terms."""

    def loss(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"main": F.cross_entropy(logits, labels), "size": 0.1 * logits.square().mean()}


def test_what_callbacks_and_losses_log_is_in_the_row(pictures: Path, tmp_path: Path) -> None:
    drop_unfounded_advice()
    run = replace(planned(pictures, f"{__name__}.Terms", 1), callbacks=[{"class_path": f"{__name__}.Sharpness"}])
    row = execute(run, tmp_path, lambda *_: None)
    assert row["status"] == "ok", row["reason"]
    logged = {name for name in row if "/" in name}
    assert logged == {"mine/sharpness", "train/loss_main", "train/loss_size"}
    assert row["mine/sharpness"] == 2.5
    assert row["train/loss_size"] > 0


def planned(pictures: Path, variant: str, seed: int) -> PlannedRun:
    data = {"source": "folder", "data_dir": str(pictures)}
    protocol = Protocol(batch_size=40, val_size=30, max_epochs=1, mc_samples=6)
    model = {"variant": {"class_path": variant, "init_args": {"depth": 2, "width": 8}}}
    return PlannedRun(name="tiny", seed=seed, model=model, data=data, protocol=protocol)


def test_a_run_keeps_its_test_and_the_first_seed_examples(pictures: Path, tmp_path: Path) -> None:
    drop_unfounded_advice()
    for seed in (0, 1):
        run = planned(pictures, "AlphaDropout", seed)
        row = execute(run, tmp_path, lambda *_: None)
        assert row["status"] == "ok", row["reason"]
        evaluation = read_evaluation(tmp_path / run.folder)
        assert evaluation is not None
        assert (evaluation["images"], evaluation["mc_samples"]) == (24, 6)
        assert (row["test_acc"], row["mc_test_nll"]) == (
            evaluation["scores"]["deterministic"]["accuracy"],
            evaluation["scores"]["mc"]["nll"],
        )
        assert evaluation["samples"]["samples"] == [1, 2, 5, 6]
        assert evaluation["samples"]["nll"][-1] == pytest.approx(row["mc_test_nll"], abs=1e-6)
        examples = read_examples(tmp_path / run.folder)
        assert (examples is not None) == (seed == 0)
        if examples:
            shown = [example for row in examples.values() for example in row]
            assert {example.image.shape for example in shown} == {(3, 32, 32)}
            assert all((e.label == e.prediction) == ("right" in row) for row in examples for e in examples[row])


def test_a_network_without_dropout_keeps_one_pass(pictures: Path, tmp_path: Path) -> None:
    drop_unfounded_advice()
    run = planned(pictures, "ELU", 0)
    execute(run, tmp_path, lambda *_: None)
    evaluation = read_evaluation(tmp_path / run.folder)
    assert evaluation is not None
    assert evaluation["mc_samples"] == 0
    assert set(evaluation["scores"]) == {"deterministic"}
    assert read_examples(tmp_path / run.folder) is None


def test_examples_come_back_as_they_were(tmp_path: Path) -> None:
    image = torch.arange(12).view(3, 2, 2).to(torch.uint8)
    rows = {"right": [Example(image, "cät", "cät", 0.5)], "wrong": [], "odd": [Example(image + 1, "a", "b", math.pi)]}
    write_examples(rows, tmp_path)
    back = read_examples(tmp_path)
    assert back is not None
    assert list(back) == list(rows)
    for row, shown in rows.items():
        for before, after in zip(shown, back[row], strict=True):
            assert torch.equal(before.image, after.image)
            assert (before.label, before.prediction, before.confidence) == (
                after.label,
                after.prediction,
                after.confidence,
            )


def test_a_folder_of_an_earlier_version_has_neither(tmp_path: Path) -> None:
    assert read_evaluation(tmp_path) is None
    assert read_examples(tmp_path) is None

"""The results of `test`: all values in test.json follow from the predictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import variants
from lit_cifar.callbacks import EvaluationReport, UncertaintyFigures
from lit_cifar.data.batches import BatchLoader, BatchSampler, InMemoryImages
from lit_cifar.data.corruptions import CORRUPTIONS, corrupt
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.normalization import Scale
from lit_cifar.data.out_of_distribution import out_of_distribution_images
from lit_cifar.data.sources import ImageSet
from lit_cifar.evaluation import (
    certain_examples,
    evaluate_network,
    predict,
    predict_by_mc,
)
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError

CLASSES = ("cat", "dog", "frog")


def untrained(mc_samples: int = 0) -> LitClassifier:
    seed_everything(0, verbose=False)
    variant = variants.get("AlphaDropout")(depth=2, width=16, rate=0.5, layers="all")
    model = LitClassifier(variant, mc_samples=mc_samples)
    model.build(CLASSES, Scale(torch.full((3, 32, 32), 127.5), torch.full((3, 32, 32), 73.9)))
    return model


class Untestable(LightningModule):
    """Fails at the first batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def test_step(self, batch: object, batch_idx: int) -> None:
        raise AssertionError("the work has started")


def trainer(folder: Path, *callbacks: object, logger: object = False) -> Trainer:
    options = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(
        accelerator="cpu", logger=logger, callbacks=list(callbacks), default_root_dir=folder, barebones=False, **options
    )


@pytest.fixture
def data(pictures: Path) -> CIFAR10DataModule:
    return CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30)


def evaluated(
    model: LitClassifier, data: CIFAR10DataModule, folder: Path
) -> tuple[dict[str, float], dict[str, object]]:
    """What Lightning has logged, and the content of test.json."""
    test = trainer(folder, EvaluationReport(ood_images=20))
    logged = test.test(model, datamodule=data, verbose=False)[0]
    return logged, json.loads((folder / "test.json").read_text())


def test_the_file_agrees_with_what_is_logged_and_with_itself(
    data: CIFAR10DataModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged, report = evaluated(untrained(mc_samples=12), data, tmp_path)
    assert (report["images"], report["mc_samples"], report["data_source"]) == (24, 12, data.data_source)
    for kind, prefix in (("deterministic", "test/"), ("mc", "test/mc_")):
        scores = report["scores"][kind]
        assert scores == pytest.approx({name: logged[prefix + name] for name in scores}, abs=1e-6)
        curve = report["risk_coverage"][kind]["confidence"]
        assert curve["coverage"][-1] == 1
        assert curve["risk"][-1] == curve["retention_error"][-1] == pytest.approx(1 - scores["accuracy"])
        assert curve["aurc"] == pytest.approx(scores["aurc"])
        assert sum(report["reliability"][kind]["count"]) == 24
        assert len(report["reliability"][kind]["upper"]) == 15
    assert report["samples"]["samples"] == [1, 2, 5, 10, 12]
    for name in ("accuracy", "nll"):
        assert report["samples"][name][-1] == pytest.approx(report["scores"]["mc"][name], abs=1e-6)
    assert set(report["risk_coverage"]["mc"]) == set(report["detection"]["uniform noise"]["mc"]) == {
        "confidence", "predictive_entropy", "expected_entropy", "mutual_information", "variation_ratio",
    }  # fmt: skip
    assert all(0 <= x <= 1 for kinds in report["detection"].values() for by in kinds.values() for x in by.values())
    lines = capsys.readouterr().out.splitlines()
    accuracy = next(line for line in lines if line.startswith("accuracy"))
    assert accuracy.split()[1:] == [
        f"{100 * report['scores']['deterministic']['accuracy']:.2f}", "%",
        f"{100 * report['scores']['mc']['accuracy']:.2f}", "%",
    ]  # fmt: skip


def test_a_trainer_and_a_direct_call_find_the_same(data: CIFAR10DataModule, tmp_path: Path) -> None:
    model = untrained(mc_samples=6)
    _, report = evaluated(model, data, tmp_path)
    network, images = model.eval().built(), data.test_images.images
    found = {"labels": data.test_images.labels, **predict(network, images), **predict_by_mc(network, images, samples=6)}
    ood = out_of_distribution_images(20)
    direct = evaluate_network(network, found, images=images, mc_samples=6, severities=(5,), ood_images=ood)
    shift = direct.pop("shift")
    assert json.loads(json.dumps(direct)) == {name: value for name, value in report.items() if name != "data_source"}
    accuracies = [
        (predict(network, corrupt(images, kind, 5))["probabilities"].argmax(1) == found["labels"]).float().mean().item()
        for kind in CORRUPTIONS
    ]
    assert shift["5"]["deterministic"]["accuracy"] == pytest.approx(sum(accuracies) / len(accuracies))
    assert set(shift["5"]) == {"deterministic", "mc"}


def test_without_mc_dropout_there_is_one_column(
    data: CIFAR10DataModule, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = evaluated(untrained(), data, tmp_path)
    assert set(report["scores"]) == {"deterministic"}
    assert "samples" not in report
    assert "MC samples" not in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_found_before_the_work(data: CIFAR10DataModule, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    network = untrained().network
    with pytest.raises(UserError, match="test's results can't be written to .*file/test.json"):
        trainer(tmp_path / "file", EvaluationReport()).test(Untestable(network), datamodule=data)


def test_figures_reach_tensorboard_and_other_loggers_are_left_alone(data: CIFAR10DataModule, tmp_path: Path) -> None:
    loggers = [TensorBoardLogger(tmp_path, name="tb"), CSVLogger(tmp_path, name="csv")]
    trainer(tmp_path, UncertaintyFigures(), logger=loggers).test(untrained(mc_samples=3), datamodule=data)
    events = EventAccumulator(loggers[0].log_dir)
    events.Reload()
    assert set(events.Tags()["images"]) == {
        f"uncertainty/{name}" for name in ("samples", "reliability", "risk_coverage", "examples")
    }


def test_predictions_do_not_depend_on_the_batch_size(data: CIFAR10DataModule, tmp_path: Path) -> None:
    images = torch.randint(256, (30, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model, predict = untrained(mc_samples=10), trainer(tmp_path)
    found = []
    for batch_size in (30, 7):
        sampler = BatchSampler(30, batch_size=batch_size)
        loader = BatchLoader(InMemoryImages(ImageSet(images, torch.arange(30))), sampler)
        batches = predict.predict(model, loader)
        found.append({name: torch.cat([batch[name] for batch in batches]) for name in batches[0]})
    for name, values in found[0].items():
        torch.testing.assert_close(values, found[1][name], atol=1e-5, rtol=1e-5)
    assert found[0]["mutual_information"].min() > 0.01


def test_examples_are_the_most_and_least_certain_right_and_wrong() -> None:
    confidence = torch.tensor([0.9, 0.6, 0.8, 0.7])
    probabilities = torch.stack([confidence, 1 - confidence], 1)
    labels, images = torch.tensor([0, 0, 1, 1]), torch.zeros(4, 3, 32, 32)
    rows = certain_examples(probabilities, labels, images, ("a", "b"))
    assert {row: [round(example.confidence, 1) for example in shown] for row, shown in rows.items()} == {
        "most certain, right": [0.9, 0.6],
        "most certain, wrong": [0.8, 0.7],
        "least certain, right": [0.6, 0.9],
        "least certain, wrong": [0.7, 0.8],
    }
    assert {(example.label, example.prediction) for example in rows["most certain, wrong"]} == {("b", "a")}


def test_out_of_distribution_images_are_the_same_each_time() -> None:
    first, again = out_of_distribution_images(10), out_of_distribution_images(10)
    assert set(first) == {"uniform noise", "Gaussian noise", "drawn shapes"}
    assert all(torch.equal(images, again[kind]) for kind, images in first.items())
    assert all(images.shape == (10, 3, 32, 32) and images.dtype == torch.uint8 for images in first.values())
    assert "drawn shapes" not in out_of_distribution_images(10, synthetic=False)
    for too_few in (-1, 9):
        with pytest.raises(UserError, match=f"ood_images={too_few} is too few"):
            EvaluationReport(ood_images=too_few)

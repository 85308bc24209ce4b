"""LitClassifier and its callbacks in a Trainer."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch import optim
from torch.optim.lr_scheduler import StepLR
from torchmetrics.functional.classification import multiclass_accuracy

import variants
from lit_cifar.callbacks import EpochTime, RestoreBestWeights
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training import checkpoints
from lit_cifar.training.metrics import LossAndAccuracy, totals
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError


@pytest.fixture
def data(pictures: Path) -> CIFAR10DataModule:
    return CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)


def trainer(folder: Path, *callbacks: Callback, **options: object) -> Trainer:
    options = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_progress_bar": False, **options}
    options |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "default_root_dir": folder}
    return Trainer(callbacks=list(callbacks), enable_checkpointing=_keeps(callbacks), **options)


def _keeps(callbacks: tuple[Callback, ...]) -> bool:
    return any(isinstance(callback, ModelCheckpoint) for callback in callbacks)


def small(name: str = "ELU", **options: object) -> LitClassifier:
    seed_everything(0, verbose=False)
    return LitClassifier(variants.get(name)(depth=2, width=16), **options)


class LearningRates(Callback):
    """Notes the learning rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_loss_and_accuracy_agree_with_torchmetrics() -> None:
    torch.manual_seed(0)
    metric, logits, labels = LossAndAccuracy(), torch.randn(50, 5), torch.randint(5, (50,))
    for chunk in (slice(0, 7), slice(7, 30), slice(30, 50)):
        loss = torch.nn.functional.cross_entropy(logits[chunk], labels[chunk])
        metric.update(totals(loss, logits[chunk], labels[chunk]))
    found = metric.compute()
    torch.testing.assert_close(found["loss"], torch.nn.functional.cross_entropy(logits, labels))
    torch.testing.assert_close(found["accuracy"], multiclass_accuracy(logits, labels, 5, average="micro"))


def test_learns_and_logs(data: CIFAR10DataModule, tmp_path: Path) -> None:
    fit = trainer(tmp_path, EpochTime(), max_epochs=4)
    fit.fit(small(learning_rate=3e-3), datamodule=data)
    assert fit.callback_metrics["val/accuracy"] > 0.8
    assert 0 < fit.callback_metrics["train/seconds"] < 10
    test = fit.test(fit.lightning_module, datamodule=data, verbose=False)[0]
    assert test["test/accuracy"] > 0.8
    assert test["test/loss"] < 1


def test_an_epoch_that_ends_early_is_timed(data: CIFAR10DataModule, tmp_path: Path) -> None:
    fit = trainer(tmp_path, EpochTime(), max_epochs=-1, max_steps=1)
    fit.fit(small(), datamodule=data)
    assert fit.callback_metrics["train/seconds"] > 0
    assert fit.callback_metrics["train/images_per_second"] > 0


def test_same_seed_same_weights(data: CIFAR10DataModule, tmp_path: Path) -> None:
    weights = []
    for _ in range(2):
        model = small("AlphaDropout")
        trainer(tmp_path).fit(model, datamodule=data)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_200_steps_come_to_the_weights_of_a_plain_loop(data: CIFAR10DataModule, tmp_path: Path) -> None:
    fast = small("SELU")
    trainer(tmp_path, max_epochs=-1, max_steps=200).fit(fast, datamodule=data)
    seed_everything(0, verbose=False)
    body = variants.get("SELU")(depth=2, width=16).build((3, 32, 32), len(data.class_names))
    mean, std = data.train_images.double().mean(0), data.train_images.double().std(0, correction=0).clamp(min=1)
    optimizer = optim.NAdam(body.parameters(), lr=variants.get("SELU").learning_rate)
    loader, epoch, steps = data.train_dataloader(), 0, 0
    while steps < 200:
        loader.sampler.set_epoch(epoch)
        for images, labels in islice(loader, 200 - steps):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(body(((images - mean) / std).float()), labels).backward()
            optimizer.step()
            steps += 1
        epoch += 1
    for (name, plain), trained in zip(body.named_parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(trained, plain, rtol=1e-3, atol=1e-4, msg=name)


def test_learning_rate_defaults_to_the_variants(data: CIFAR10DataModule, tmp_path: Path) -> None:
    rates = LearningRates()
    trainer(tmp_path, rates, max_epochs=1).fit(small("BatchNorm"), datamodule=data)
    assert set(rates.seen) == {variants.get("BatchNorm").learning_rate}


def test_any_optimizer(data: CIFAR10DataModule, tmp_path: Path) -> None:
    model = small(optimizer=lambda parameters, lr: optim.SGD(parameters, lr, momentum=0.9), learning_rate=0.05)
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(model, datamodule=data)
    assert isinstance(fit.optimizers[0], optim.SGD)
    assert fit.optimizers[0].param_groups[0]["momentum"] == 0.9


def test_one_cycle_rises_to_the_learning_rate_and_falls_step_by_step(data: CIFAR10DataModule, tmp_path: Path) -> None:
    rates = LearningRates()
    trainer(tmp_path, rates).fit(small(scheduler="one_cycle", learning_rate=0.01), datamodule=data)
    peak = int(np.argmax(rates.seen))
    assert max(rates.seen) == pytest.approx(0.01, rel=0.05)
    assert 0 < peak < len(rates.seen) // 2
    assert np.all(np.diff(rates.seen[: peak + 1]) > 0)
    assert np.all(np.diff(rates.seen[peak:]) < 0)


def test_one_cycle_needs_an_end(data: CIFAR10DataModule, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_epochs or max_steps"):
        trainer(tmp_path, max_epochs=-1).fit(small(scheduler="one_cycle"), datamodule=data)


def test_torch_schedulers_step_every_epoch(data: CIFAR10DataModule, tmp_path: Path) -> None:
    rates = LearningRates()
    model = small(scheduler=lambda optimizer: StepLR(optimizer, 1, gamma=0.1), learning_rate=0.01)
    trainer(tmp_path, rates, max_epochs=3).fit(model, datamodule=data)
    per_epoch = len(rates.seen) // 3
    assert rates.seen[::per_epoch] == pytest.approx([0.01, 0.001, 0.0001])


@pytest.mark.parametrize("others", [False, True])
def test_the_best_weights_are_used_afterwards(others: bool, data: CIFAR10DataModule, tmp_path: Path) -> None:
    """Also where another ModelCheckpoint, which monitors nothing, comes first."""
    keep = ModelCheckpoint(tmp_path, filename="best", monitor="val/loss")
    latest = [ModelCheckpoint(tmp_path / "latest", filename="latest")] if others else []
    stop = EarlyStopping("val/loss", patience=3)
    model = small(learning_rate=0.3)  # so large that the last epoch is not the best
    fit = trainer(tmp_path, *latest, keep, stop, RestoreBestWeights(), max_epochs=30)
    fit.fit(model, datamodule=data)
    assert fit.current_epoch < 30
    found = fit.validate(model, datamodule=data, verbose=False)[0]["val/loss"]
    assert found == pytest.approx(float(keep.best_model_score), rel=1e-4)


def test_a_checkpoint_is_plain_data_that_rebuilds_everything(data: CIFAR10DataModule, tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, filename="best", monitor="val/loss")
    model = small("SELU")
    trainer(tmp_path, keep).fit(model, datamodule=data)
    content = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert content["lit_cifar"]["variant"]["init_args"] == {"depth": 2, "width": 16, "scaling": "standardize"}
    again = LitClassifier.load_from_checkpoint(tmp_path / "best.ckpt")
    images = data.train_images[:5]
    model.load_state_dict(content["state_dict"])
    assert torch.equal(again.eval()(images), model.eval()(images))
    assert torch.equal(again.network.scale.mean, data.train_images.float().mean(0)) or torch.allclose(
        again.network.scale.mean, data.train_images.float().mean(0)
    )


def test_a_checkpoint_of_a_variant_that_is_not_installed(data: CIFAR10DataModule, tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, filename="best", monitor="val/loss")
    trainer(tmp_path, keep, max_epochs=1).fit(small(), datamodule=data)
    content = torch.load(tmp_path / "best.ckpt")
    content["lit_cifar"]["variant"] |= {"class_path": "far.Away", "distribution": "lit-cifar-far", "version": "2.0"}
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(variants.VariantError, match="pip install 'lit-cifar-far==2.0'"):
        LitClassifier.load_from_checkpoint(tmp_path / "best.ckpt")


def test_a_pickle_bomb_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (Path.touch, (tmp_path / "exploded",))

    torch.save({"state_dict": {}, "bomb": Bomb()}, tmp_path / "bomb.ckpt")
    with pytest.raises(UserError, match="not a checkpoint of plain data"):
        checkpoints.read(tmp_path / "bomb.ckpt")
    assert not (tmp_path / "exploded").exists()


def test_predicting_before_training_says_so() -> None:
    with pytest.raises(UserError, match="no trained weights"):
        small()(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))

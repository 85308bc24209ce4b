"""Layers of a network that was trained on other classes: reused, frozen, trained again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from PIL import Image
from torch import Tensor

import variants
from lit_cifar.callbacks import ReuseLayers
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.study.run_parts import build_callbacks
from lit_cifar.study.study_file import load_study
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError

CLASSES = ("bird", "cat", "dog", "frog", "horse")
NEW = ["cat", "horse"]
Weights = Mapping[str, Tensor]


@pytest.fixture(scope="module")
def five_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("five")
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 3)):
        for label, name in enumerate(CLASSES):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(40 * label, 40 * label + 60, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")
    return folder


class Watch(Callback):
    """The weights and the random numbers when training starts, the weights after each epoch, the layers' modes."""

    def __init__(self) -> None:
        self.random = torch.empty(0)
        self.weights: list[Weights] = []
        self.modes: list[bool] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.random = torch.get_rng_state()
        self.weights.append(copied(pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights.append(copied(pl_module))
        self.modes.append(pl_module.network.body.hidden_01.training)  # type: ignore[union-attr]


def copied(model: LightningModule) -> Weights:
    return {name: value.clone() for name, value in model.state_dict().items()}


def train(
    folder: Path,
    *callbacks: Callback,
    epochs: int = 2,
    classes: list[str] | None = NEW,
    compiled: bool = False,
    **options: float,
) -> Watch:
    seed_everything(0, verbose=False)
    variant = variants.get("BatchNorm")(depth=3, width=8)  # type: ignore[call-arg]
    model = LitClassifier(variant, learning_rate=0.01, compile=compiled, **options)  # type: ignore[arg-type]
    data = CIFAR10DataModule(
        source="folder", data_dir=str(folder), val_size=4, batch_size=8, classes=classes, train_size=8
    )
    watch = Watch()
    trainer = Trainer(
        max_epochs=epochs, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        enable_checkpointing=False, num_sanity_val_steps=0, callbacks=[*callbacks, watch],
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return watch


def lower(weights: Weights) -> Weights:
    names = ("network.scale", "network.body.hidden_01", "network.body.hidden_02")
    return {name: value for name, value in weights.items() if name.startswith(names)}


def upper(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if name not in lower(weights)}


def equal(some: Weights, others: Weights) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


def test_frozen_layers_stay_those_of_a_donor_that_saw_all_images_of_the_other_classes(
    five_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    donors: list[LitClassifier] = []
    make = ReuseLayers._donor
    monkeypatch.setattr(ReuseLayers, "_donor", lambda *given: donors.append(make(*given)) or donors[-1])
    found = train(five_classes, ReuseLayers(layers=2, donor_epochs=2))
    (donor,) = donors
    assert donor.class_names == ("bird", "dog", "frog")
    data: Any = donor.trainer.datamodule
    assert len(data.train_images) == 3 * 12 - 4
    assert donor.trainer.current_epoch == 2
    assert all(equal(lower(weights), lower(copied(donor))) for weights in found.weights)
    assert not equal(upper(found.weights[0]), upper(found.weights[1]))
    assert found.modes == [False, False]


def test_layers_are_trained_from_the_epoch_in_which_they_are_unfrozen(five_classes: Path) -> None:
    found = train(five_classes, ReuseLayers(layers=2, donor_epochs=1, unfreeze_epoch=1), epochs=3)
    start, *ends = map(lower, found.weights)
    assert equal(start, ends[0])
    moved = [name for name in start if not torch.equal(ends[1][name], ends[2][name])]
    assert [name for name in start if "scale" not in name] == moved
    assert found.modes == [False, True, True]


def test_upper_layers_and_random_numbers_are_those_of_a_training_from_scratch(five_classes: Path) -> None:
    scratch, reused = train(five_classes), train(five_classes, ReuseLayers(layers=2, donor_epochs=1))
    assert torch.equal(scratch.random, reused.random)
    assert equal(upper(scratch.weights[0]), upper(reused.weights[0]))
    assert not equal(lower(scratch.weights[0]), lower(reused.weights[0]))


def test_the_donor_depends_on_the_seed_of_the_data_alone(five_classes: Path) -> None:
    one, other = (train(five_classes, ReuseLayers(layers=2, donor_epochs=1)) for _ in range(2))
    assert equal(one.weights[-1], other.weights[-1])


def test_a_donor_can_be_trained_on_the_images_of_the_same_classes_without_their_labels(
    five_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    donors: list[LitClassifier] = []
    own: list[CIFAR10DataModule] = []

    def make(callback: ReuseLayers, trainer: Trainer, model: LightningModule) -> LitClassifier:
        own.append(trainer.datamodule)  # type: ignore[attr-defined]
        donors.append(original(callback, trainer, model))
        return donors[-1]

    original = ReuseLayers._donor
    monkeypatch.setattr(ReuseLayers, "_donor", make)
    autoencoder = variants.get("Autoencoder")(depth=2, width=8)  # type: ignore[call-arg]
    found = train(five_classes, ReuseLayers(layers=2, donor=autoencoder, donor_classes="same", donor_epochs=1))
    assert donors[0].variant == autoencoder
    assert donors[0].class_names == tuple(NEW)
    data: Any = donors[0].trainer.datamodule
    assert (len(own[0].train_images), len(data.train_images)) == (8, 2 * 12 - 4)
    assert torch.equal(own[0].val_images, data.val_images)
    assert all(equal(lower(weights), lower(copied(donors[0]))) for weights in found.weights)


def test_the_study_pretrains_without_labels() -> None:
    [callback] = build_callbacks(load_study("reuse").runs["pretrained as an autoencoder"].callbacks)
    assert isinstance(callback, ReuseLayers)
    assert callback.donor == variants.get("Autoencoder")()
    assert callback.donor_classes == "same"


def test_layers_are_unfrozen_in_the_quick_form_of_the_study_as_well() -> None:
    quick = load_study("reuse").quickly()
    unfrozen = [options["unfreeze_epoch"] for run in quick.runs.values() for options in settings(run.callbacks)]
    assert len(unfrozen) == 3
    assert max(unfrozen) < quick.protocol.max_epochs


def settings(callbacks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The arguments of callbacks that unfreeze layers."""
    return [it["init_args"] for it in callbacks if "unfreeze_epoch" in it["init_args"]]


@pytest.mark.parametrize("limit", [{"l1": 1.0}, {"max_norm": 0.1}, {"sparsity": 0.5}])
def test_penalties_and_limits_leave_frozen_layers_alone(five_classes: Path, limit: dict[str, float]) -> None:
    free = train(five_classes, ReuseLayers(layers=2, donor_epochs=1))
    limited = train(five_classes, ReuseLayers(layers=2, donor_epochs=1), **limit)
    assert equal(lower(free.weights[-1]), lower(limited.weights[-1]))
    assert not equal(upper(free.weights[-1]), upper(limited.weights[-1]))


def test_weights_that_are_unfrozen_are_pruned_then(five_classes: Path) -> None:
    """An epoch is one step here, so all other weights have reached their share after ten."""
    found = train(five_classes, ReuseLayers(layers=2, donor_epochs=1, unfreeze_epoch=11), epochs=13, sparsity=0.5)
    reused, own = (
        [weights[f"network.body.{layer}.0.weight"] for weights in found.weights[-3:]]
        for layer in ("hidden_01", "hidden_03")
    )
    assert [(weight == 0).double().mean().item() for weight in reused] == pytest.approx([0, 0.5, 0.5], abs=0.01)
    assert [(weight == 0).double().mean().item() for weight in own] == pytest.approx([0.5] * 3, abs=0.01)
    assert torch.equal(reused[1] == 0, reused[2] == 0)
    assert not torch.equal(reused[1], reused[2])


@pytest.mark.slow
@pytest.mark.compiles
def test_a_compiled_step_freezes_and_trains_the_same_layers(five_classes: Path) -> None:
    eager, compiled = (
        train(five_classes, ReuseLayers(layers=2, donor_epochs=1, unfreeze_epoch=1), epochs=3, compiled=compiled)
        for compiled in (False, True)
    )
    assert equal(lower(compiled.weights[0]), lower(compiled.weights[1]))
    for one, other in zip(eager.weights, compiled.weights, strict=True):
        # A bias before batch normalization has a gradient of rounding errors alone, which NAdam scales up.
        for name in one:
            if name.endswith((".weight", ".running_var")):
                torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_checkpoint_can_be_the_donor_and_a_stopped_run_goes_on(
    five_classes: Path, workspace: Path, lit_cifar: Any, no_figures: None
) -> None:
    data = ["--data.source", "folder", "--data.data_dir", five_classes, "--data.val_size", 4, "--data.batch_size", 8]
    model = ["--model.variant", "BatchNorm", "--model.variant.depth", 3, "--model.variant.width", 8]
    quiet = ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]
    donor = ["--data.classes", "[bird, dog, frog]", "--trainer.max_epochs", 1]
    assert lit_cifar("fit", *model, *data, *quiet, *donor)[0] == 0
    path = "logs/fit/BatchNorm/version_0/checkpoints/last.ckpt"
    reuse = ["--trainer.callbacks", "ReuseLayers", "--trainer.callbacks.layers", 2]
    reuse += ["--trainer.callbacks.unfreeze_epoch", 2, "--trainer.callbacks.ckpt_path", path, "--model.sparsity", 0.5]
    new = ["fit", *model, *data, *quiet, "--data.classes", "[cat, horse]", *reuse]
    code, _, err = lit_cifar(*new, "--trainer.max_epochs", 2)
    assert code == 0, err
    read = [torch.load(path.replace("0", str(n)), weights_only=True) for n in (0, 1)]
    assert equal(lower(read[0]["state_dict"]), lower(read[1]["state_dict"]))
    assert lit_cifar("fit", "--ckpt_path", path.replace("0", "1"), "--trainer.max_epochs", 4)[0] == 0
    assert lit_cifar(*new, "--trainer.max_epochs", 4)[0] == 0
    continued, whole = (torch.load(path.replace("0", str(n)), weights_only=True)["state_dict"] for n in (1, 2))
    assert equal(continued, whole)
    assert not equal(lower(read[0]["state_dict"]), lower(whole))
    code, out, err = lit_cifar("test", "--ckpt_path", path.replace("0", "1"), *quiet)  # its classes are known
    assert code == 0, out + err


def test_what_can_not_be_reused_is_one_line(five_classes: Path, workspace: Path) -> None:
    with pytest.raises(UserError, match="layers=4 is too many: the network has 4 layers"):
        train(five_classes, ReuseLayers(layers=4))
    with pytest.raises(UserError, match=r"give classes, such as classes=\['bird', 'dog', 'horse'\]"):
        train(five_classes, ReuseLayers(layers=1), classes=None)
    with pytest.raises(UserError, match="both must be at least 1"):
        ReuseLayers(layers=0)
    with pytest.raises(UserError, match="unfreeze_epoch=-1 is negative"):
        ReuseLayers(layers=1, unfreeze_epoch=-1)
    with pytest.raises(UserError, match="ckpt_path and donor exclude each other"):
        ReuseLayers(layers=1, ckpt_path="last.ckpt", donor=variants.get("ELU")())
    with pytest.raises(UserError, match="donor_classes='all' is not a choice: use 'other' or 'same'"):
        ReuseLayers(layers=1, donor_classes="all")  # type: ignore[arg-type]


def test_a_donor_of_another_shape_is_one_line(five_classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = LitClassifier(variants.get("BatchNorm")(depth=3, width=9))  # type: ignore[call-arg]
    data = CIFAR10DataModule(source="folder", data_dir=str(five_classes), val_size=5)
    data.setup("fit")
    from lit_cifar.data.normalization import Scale

    wide.build(data.class_names, Scale.fit("unit", data.train_images))
    monkeypatch.setattr(ReuseLayers, "_donor", lambda *_: wide)
    with pytest.raises(UserError, match="don't fit this network"):
        train(five_classes, ReuseLayers(layers=1))

"""Sources of packages and by class path: found, checked, and used in everything that the built-in ones are used in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer, seed_everything
from PIL import Image

import lit_cifar as package
import variants
from lit_cifar.conformance import SOURCE_CHECKS, ConformanceError, source_results
from lit_cifar.conformance import sources as conformance
from lit_cifar.data.corruptions import CORRUPTIONS
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.sources import ImageSet, Source, open_source, plugins
from lit_cifar.replicas.data import StackedDataModule
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError
from tests.data.sources.published import SVHN, WRITERS, FashionMNIST, write_cifar100, write_fashion_mnist

Run = Callable[..., tuple[int, str, str]]
PATH = "tests.data.sources.published"


def point(name: str, value: str, package: str = "lc-sources", version: str = "1.0") -> Any:
    found = EntryPoint(name, value, plugins.ENTRY_POINT_GROUP)
    return found._for(SimpleNamespace(name=package, version=version))  # type: ignore[attr-defined]


def install(monkeypatch: pytest.MonkeyPatch, *points: Any) -> None:
    def entry_points(*, group: str) -> Sequence[Any]:
        assert group == "lit_cifar.sources"
        return points

    monkeypatch.setattr(plugins, "entry_points", entry_points)


def trained(data: CIFAR10DataModule, *, epochs: int = 1) -> LitClassifier:
    seed_everything(0, verbose=False)
    model = LitClassifier(variants.get("ELU")(depth=2, width=16), learning_rate=1e-3)
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return model


@pytest.mark.parametrize("source_class", WRITERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("check", SOURCE_CHECKS)
def test_published_data_sets_conform(check: conformance.SourceCheck, source_class: type[Any], tmp_path: Path) -> None:
    WRITERS[source_class](tmp_path)
    check(source_class(tmp_path))


def test_shape_and_classes_come_from_the_source(tmp_path: Path) -> None:
    write_cifar100(tmp_path)
    for coarse, classes in ((False, 100), (True, 20)):
        data = CIFAR10DataModule(
            source=f"{PATH}.CIFAR100", source_options={"coarse": coarse}, data_dir=str(tmp_path), val_size=100
        )
        model = trained(data)
        assert len(model.class_names) == classes
        assert model.trained_on["source_options"] == {"coarse": coarse}
        assert model(data.val_images[:3]).shape == (3, classes)
    write_fashion_mnist(tmp_path)
    data = CIFAR10DataModule(source=f"{PATH}.FashionMNIST", data_dir=str(tmp_path), val_size=20, flip=True)
    model = trained(data)
    assert data.image_shape == model.network.scale.mean.shape == (1, 28, 28)
    assert model.network.body.hidden_01[0].in_features == 784


def test_validation_images_of_the_source_are_used(tmp_path: Path) -> None:
    WRITERS[SVHN](tmp_path)
    data = CIFAR10DataModule(source=f"{PATH}.SVHN", data_dir=str(tmp_path))
    data.setup("fit")
    assert (len(data.train_images), len(data.val_images)) == (40, 20)
    assert torch.equal(data.val_images, SVHN(tmp_path).val().images)


def test_every_corruption_of_grey_images(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path)
    plain = FashionMNIST(tmp_path).test().images
    for corruption in CORRUPTIONS:
        data = CIFAR10DataModule(
            source=f"{PATH}.FashionMNIST", data_dir=str(tmp_path), corruption=corruption, severity=5
        )
        data.setup("test")
        assert data.test_images.images.shape == plain.shape
        assert not torch.equal(data.test_images.images, plain)


def test_a_stack_has_the_images_of_single_runs(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path)
    options: dict[str, Any] = {"source": f"{PATH}.FashionMNIST", "data_dir": str(tmp_path), "val_size": 20}
    stack, single = StackedDataModule(seeds=[0, 1], **options), CIFAR10DataModule(seed=1, **options)
    for data in (stack, single):
        data.setup("fit")
    assert torch.equal(stack.first_validation_images(20)[1], single.val_images)


def test_commands_from_training_to_prediction(
    lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None
) -> None:
    """By the name of an entry point; the checkpoint brings source and options back."""
    install(monkeypatch, point("fashion", f"{PATH}:FashionMNIST"))
    Path("data").mkdir()
    write_fashion_mnist(Path("data"))
    options = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    code, _, err = lit_cifar(
        "fit", "--model.variant", "ELU", "--model.variant.depth", 2, "--data.source", "Fashion", "--data.val_size", 20,
        "--trainer.max_epochs", 2, *options,
    )  # fmt: skip
    assert code == 0, err
    best = Path("logs/fit/ELU/version_0/checkpoints/best.ckpt")
    code, out, err = lit_cifar("test", "--ckpt_path", best, "--evaluation.ood_images", 10, *options)
    assert code == 0, err
    assert "20 test images, Fashion-MNIST" in out
    assert "drawn shapes" in out
    Image.fromarray(np.full((40, 50, 3), 200, np.uint8)).save("boot.png")
    code, _, err = lit_cifar("predict", "--ckpt_path", best, "--data.pictures", "boot.png", *options)
    assert code == 0, err
    assert len(pd.read_csv("logs/predict/ELU/version_0/predictions.csv")) == 1


def test_pictures_become_grey_in_python_too(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path)
    model = trained(CIFAR10DataModule(source=f"{PATH}.FashionMNIST", data_dir=str(tmp_path), val_size=20))
    colours = np.zeros((28, 28, 3), np.uint8)
    colours[..., 1] = 200
    Image.fromarray(colours).save(tmp_path / "green.png")
    Image.fromarray(np.full((28, 28), 117, np.uint8)).save(tmp_path / "grey.png")
    found = package.predict(model, tmp_path)
    assert found["confidence"].nunique() == 1, "0.587 of 200 is 117"


@pytest.mark.slow
def test_a_study_trains_and_tests_in_workers(lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fashion_mnist(workspace)
    (workspace / "mine.py").write_text(f"from {PATH} import FashionMNIST as Mine\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, out, err = lit_cifar(
        "compare", "--variants", "ELU,SELU", "--seeds", 2, "--max_epochs", 1, "--data.source", "mine.Mine",
        "--data.data_dir", workspace, "--data.val_size", 20, "--workers", 2, "--replicas", 1,
    )  # fmt: skip
    assert code == 0, err
    assert "Fashion-MNIST" in out
    results = pd.read_csv(next(Path("logs/compare").glob("*/results.csv")))
    assert set(results["status"]) == {"ok"}


def test_a_checkpoint_makes_no_source_be_imported(
    lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    write_fashion_mnist(workspace)
    Path("my_source.py").write_text(f"from {PATH} import FashionMNIST as Mine\n")
    options = ["--data.data_dir", workspace, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    code, _, err = lit_cifar(
        "fit", "--model.variant", "ELU", "--model.variant.depth", 2, "--data.source", "my_source.Mine",
        "--data.val_size", 20, "--trainer.max_epochs", 1, *options,
    )  # fmt: skip
    assert code == 0, err
    inside = Path("logs/fit/ELU/version_0/checkpoints/best.ckpt")
    outside = Path(inside.replace("sent_by_mail.ckpt"))
    monkeypatch.delitem(sys.modules, "my_source")
    code, _, err = lit_cifar("test", "--ckpt_path", outside)
    assert (code, "my_source" in sys.modules) == (1, False)
    assert "which isn't installed here. If you trust it, give it yourself: --data.source my_source.Mine" in err
    with pytest.raises(UserError, match=r"give it yourself: source='my_source\.Mine'"):
        package.test(outside)
    assert "my_source" not in sys.modules
    assert lit_cifar("test", "--ckpt_path", outside, "--data.source", "my_source.Mine", *options)[0] == 0


def test_names_are_found_the_same_way_whatever_the_order_of_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        point("Same", "b_module:B", "b-package"),
        point("same", "a_module:A", "a-package"),
        point("folder", "c_module:C", "c-package"),
    ]
    for order in permutations(points):
        install(monkeypatch, *order)
        assert {name: source.class_path for name, source in plugins.by_name().items()} == {"same": "a_module.A"}
        taken = {source.class_path: source.taken_by for source in plugins.installed()}
        assert taken == {"a_module.A": "", "b_module.B": "a-package 1.0", "c_module.C": "lit_cifar itself"}


def test_a_broken_package_breaks_only_itself(lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, point("broken", "no_such_module:Broken"), point("fashion", f"{PATH}:FashionMNIST"))
    code, out, _ = lit_cifar("sources")
    assert code == 0
    assert "broken  no_such_module.Broken, from lc-sources 1.0" in out
    assert open_source("FASHION", workspace).name == "Fashion-MNIST"
    code, _, err = lit_cifar("sources", "check", "broken")
    assert code == 1
    assert err.strip() == (
        "lit-cifar: error: source='broken' of lc-sources 1.0 can't be imported: ModuleNotFoundError: No module named "
        "'no_such_module'."
    )


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("cifar1", {}, "There is no source 'cifar1'. Did you mean cifar10\\?"),
        (f"{PATH}.pixels", {}, "no class pixels that subclasses Source"),
        (f"{PATH}.CIFAR100", {"fine": True}, "CIFAR100 has no option fine: it has coarse"),
        (f"{PATH}.SVHN", {"fine": True}, "SVHN has no option fine: it has none"),
        ("synthetic", {"count": 3}, "source='synthetic' has no source_options"),
    ],
)
def test_mistakes_are_one_line(kind: str, options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        open_source(kind, tmp_path, options=options)


class Made(Source):
    """A sound source, or what a test makes of it."""

    name = "made up"
    class_names: Any = ("a", "b")
    image_shape = (3, 4, 4)

    def prepare(self) -> None:
        """Nothing to do."""

    def train(self) -> ImageSet:
        return ImageSet(torch.arange(8 * 48).reshape(8, 3, 4, 4).to(torch.uint8), torch.arange(8) % 2)

    def test(self) -> ImageSet:
        return ImageSet(torch.zeros(4, 3, 4, 4, dtype=torch.uint8), torch.arange(4) % 2)


@pytest.mark.parametrize(
    ("changes", "check", "reason"),
    [
        ({"name": "two\nlines"}, conformance.names_itself, "one line"),
        ({"class_names": ["a", "b"]}, conformance.names_itself, "give a tuple"),
        ({"class_names": ("a", "a")}, conformance.names_itself, "same name"),
        ({"class_names": ("a",)}, conformance.gives_images, r"train\(\) has labels 0 to 1 for 1 classes"),
        ({"image_shape": (3, 4, 5)}, conformance.gives_images, r"gives images \(3, 4, 4\), and image_shape is"),
        ({"class_names": ("a", "b", "c")}, conformance.has_every_class, "too few training images of c"),
        (
            {"train": lambda self: ImageSet(torch.randint(256, (8, 3, 4, 4), dtype=torch.uint8), torch.arange(8) % 2)},
            conformance.keeps_its_order,
            "other images each time",
        ),
        ({"test": Made.train}, conformance.keeps_test_images_apart, "100% of the test images"),
    ],
)
def test_a_broken_promise_is_noticed(changes: dict[str, Any], check: conformance.SourceCheck, reason: str) -> None:
    with pytest.raises(ConformanceError, match=reason):
        check(type("Changed", (Made,), changes)())
    assert not any(reason for _, reason in source_results(Made()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_shape": (1, 4, 4)}, r"made up: image_shape is \(1, 4, 4\), but the images have \(3, 4, 4\)"),
        ({"class_names": ("a",)}, "made up: 1 classes need labels 0 to 0, not 0 to 1"),
    ],
)
def test_images_that_differ_from_what_the_source_says_are_refused(
    changes: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = CIFAR10DataModule(source="synthetic")
    data.source = type("Changed", (Made,), changes)()
    for stage in ("fit", "test"):
        with pytest.raises(UserError, match=reason):
            data.setup(stage)


def test_arrays_become_images() -> None:
    grey, colour = np.arange(2 * 20).reshape(2, 4, 5), np.arange(2 * 60).reshape(2, 4, 5, 3)
    assert ImageSet.from_arrays(grey, [0, 1]).images.shape == (2, 1, 4, 5)
    found = ImageSet.from_arrays(colour, np.array([0, 1], np.uint8))
    assert torch.equal(found.images[1, :, 2, 3], torch.from_numpy(colour[1, 2, 3]).to(torch.uint8))
    assert found.labels.dtype == torch.int64
    for wrong, reason in ((colour * 3, "0 to 255"), (colour[..., :2], r"\[N, H, W\]")):
        with pytest.raises(ValueError, match=reason):
            ImageSet.from_arrays(wrong, [0, 1])

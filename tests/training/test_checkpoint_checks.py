"""Damaged checkpoints, and checkpoints of other programs: one line each, and no more memory than the file."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lit_cifar.training import checkpoints
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError
from variants import Variant

pytestmark = pytest.mark.usefixtures("no_figures")
Run = Callable[..., tuple[int, str, str]]
WEIGHT = "network.body.logits.weight"


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a short run."""
    from lit_cifar.__main__ import main

    folder = tmp_path_factory.mktemp("trained")
    data = [
        "--data.source",
        "folder",
        "--data.data_dir",
        pictures,
        "--data.val_size",
        30,
        "--trainer.accelerator",
        "cpu",
    ]
    network = ["--model.variant", "ELU", "--model.variant.depth", 2, "--model.variant.width", 8]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = [*network, *data, "--trainer.max_epochs", 1, "--trainer.enable_progress_bar", "false"]
        assert main(["fit", *map(str, options)]) == 0
    return folder / "logs/fit/ELU/version_0/checkpoints/best.ckpt"


def spoilt(content: dict[str, Any], how: str) -> dict[str, Any]:
    described, weights = content["lit_cifar"], content["state_dict"]
    weight = next(name for name in weights if name.endswith("weight") and "hidden_02" in name)
    arguments = described["variant"]["init_args"]
    match how:
        case "cropped":
            weights[weight] = weights[weight][:-1].clone()
        case "sparse":
            weights[weight] = weights[weight].to_sparse()
        case "meta":
            weights[weight] = weights[weight].to("meta")
        case "repeated":
            weights["network.scale.mean"] = torch.zeros(1, 1, 1).expand(3, 10**6, 10**6)
        case "NaN":
            weights[weight][0, 0] = torch.nan
        case "missing":
            del weights[weight]
        case "a text":
            weights[weight] = "zero"
        case "other classes":
            described["class_names"] = ["cat", "dog", "ape"]
        case "more classes":
            described["class_names"].append("ape")
        case "no class names":
            described["class_names"] = [1, 2, 3]
        case "other depth":
            arguments["depth"] = 3
        case "depth bomb":
            arguments["depth"] = 10**7
        case "width bomb":
            arguments["width"] = 3_000_000
        case "no version":
            del content["pytorch-lightning_version"]
        case "odd version":
            content["pytorch-lightning_version"] = "two"
        case "callbacks":
            content["callbacks"] = 5
        case "learning rate":
            described["learning_rate"] = -1.0
        case "no arguments":
            described["variant"] = {"class_path": 3}
    return content


FAULTS = {
    "cropped": "[7, 8] instead of [8, 8]",
    "sparse": "is not a dense tensor",
    "meta": "has no values",
    "repeated": "repeats its values",
    "NaN": "are NaN or infinite",
    "missing": "is missing",
    "a text": "is a str, not a tensor",
    "other classes": "The network knows the classes cat, dog, ape; the data has cat, dog, frog",
    "more classes": "instead of",
    "no class names": "names no variant",
    "other depth": "hidden_03.0.weight is missing, and 1 more",
    "depth bomb": "far more weights than the file",
    "width bomb": "far more weights than the file",
    "no version": "doesn't say by which version",
    "odd version": "'two' is not a version",
    "callbacks": "its 'callbacks' is a int",
    "learning rate": "names no variant",
    "no arguments": "names no variant",
}


QUICK = ("cropped", "NaN", "other classes", "depth bomb", "callbacks")


@pytest.mark.parametrize("how", [h if h in QUICK else pytest.param(h, marks=pytest.mark.slow) for h in FAULTS])
def test_a_damaged_checkpoint_is_one_line(
    how: str, trained: Path, lit_cifar: Run, on_pictures: list[object], workspace: Path
) -> None:
    torch.save(spoilt(torch.load(trained), how), "spoilt.ckpt")
    resource = pytest.importorskip("resource")  # Windows has none
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, _, err = lit_cifar("test", "--ckpt_path", "spoilt.ckpt", *on_pictures)
    assert code == 1
    assert FAULTS[how] in err
    assert len([line for line in err.splitlines() if line.startswith("lit-cifar: error")]) == 1
    assert "Traceback" not in err
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes, on Linux


@pytest.mark.slow
@pytest.mark.parametrize("command", ["validate", "predict"])
@pytest.mark.parametrize("how", ["NaN", "other classes"])
def test_other_commands_refuse_it_too(
    command: str, how: str, trained: Path, lit_cifar: Run, on_pictures: list[object], workspace: Path
) -> None:
    torch.save(spoilt(torch.load(trained), how), "spoilt.ckpt")
    code, _, err = lit_cifar(command, "--ckpt_path", "spoilt.ckpt", *on_pictures)
    assert code == 1
    assert FAULTS[how] in err


def test_pictures_of_ones_own_need_no_classes(trained: Path, lit_cifar: Run, pictures: Path, workspace: Path) -> None:
    torch.save(spoilt(torch.load(trained), "other classes"), "spoilt.ckpt")
    code, _, err = lit_cifar("predict", "--ckpt_path", "spoilt.ckpt", "--data.pictures", pictures / "test/cat")
    assert code == 0, err


def test_compressed_files_are_refused_unread(trained: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(trained) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    with pytest.raises(UserError, match="compressed entries"):
        checkpoints.read(bomb)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_cut_off_files_are_refused(share: float, trained: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ckpt"
    shutil.copyfile(trained, cut)
    with cut.open("r+b") as file:
        file.truncate(int(share * trained.stat().st_size))
    with pytest.raises(UserError, match=r"cut\.ckpt"):
        checkpoints.read(cut)


class SevenLogits(Variant):
    """More outputs than there are classes."""

    learning_rate = 1e-3

    def build(self, image_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(3072, 7))


def test_more_logits_than_classes_are_an_error(pictures: Path, tmp_path: Path) -> None:
    from lightning import Trainer

    from lit_cifar.data.datamodule import CIFAR10DataModule

    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    with pytest.raises(UserError, match=r"SevenLogits must return .* \[2, 3\] .* shape \[2, 7\]"):
        Trainer(default_root_dir=tmp_path, max_epochs=1, **quiet).fit(LitClassifier(SevenLogits()), datamodule=data)

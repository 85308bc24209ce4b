"""A checkpoint knows what it was trained with, and mistakes in paths are found early."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from lit_cifar import predict

pytestmark = pytest.mark.usefixtures("no_figures")
Run = Callable[..., tuple[int, str, str]]
MINE = """
from torch import nn
from variants import DenseVariant

class Mine(DenseVariant):
    "Tanh."
    def hidden_block(self, dense, index):
        return [dense, nn.Tanh()]
"""


@pytest.fixture
def mine(lit_cifar: Run, on_pictures: list[object], workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The best checkpoint of a run with a variant of the user's own and seed 3."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_module_b", raising=False)
    Path("my_module_b.py").write_text(MINE)
    code, _, err = lit_cifar(
        "fit", "--seed_everything", 3, "--model.variant.depth", 2, "--model.variant", "my_module_b.Mine", *on_pictures,
        "--trainer.max_epochs", 1,
    )  # fmt: skip
    assert code == 0, err
    monkeypatch.delitem(sys.modules, "my_module_b", raising=False)
    return Path("logs/fit/Mine/version_0/checkpoints/best.ckpt")


def test_test_validate_and_predict_need_nothing_but_the_checkpoint(
    mine: Path, lit_cifar: Run, on_pictures: list[object], pictures: Path
) -> None:
    for command in ("test", "validate", "predict"):
        code, _, err = lit_cifar(command, "--ckpt_path", mine)
        assert code == 0, err
        config = yaml.safe_load(Path(f"logs/{command}/Mine/version_0/config.yaml").read_text())
        assert config["data"]["source"] == "folder"
        assert config["data"]["data_dir"] == str(pictures)
        assert (config["data"]["seed"], config["data"]["val_size"]) == (3, 30), "else training images were validated on"
    code, _, err = lit_cifar("test", "--ckpt_path", mine, "--data.source", "folder", "--data.data_dir", "elsewhere")
    assert code == 1
    assert "elsewhere: there is no such folder" in err
    code, _, err = lit_cifar("test", "--ckpt_path", mine, "--model.variant.depth", 3)
    assert "as given: depth=3" in err
    assert "The checkpoint's weights don't fit Mine(depth=3" in err


def test_a_variant_whose_file_is_gone_is_one_line(mine: Path, lit_cifar: Run) -> None:
    Path("my_module_b.py").unlink()
    code, _, err = lit_cifar("test", "--ckpt_path", mine)
    assert code == 1
    assert "'my_module_b.Mine' is not registered here. If you trust it, give it yourself" in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.slow
def test_pictures_of_another_size(lit_cifar: Run, on_pictures: list[object], workspace: Path, pictures: Path) -> None:
    """Networks, checkpoints, test, predict and export carry the size."""
    small = ("--model.variant", "AlphaDropout", "--model.variant.depth", 2, "--data.image_size", 48)
    code, _, err = lit_cifar("fit", *small, *on_pictures, "--trainer.max_epochs", 1)
    assert code == 0, err
    best = Path("logs/fit/AlphaDropout/version_0/checkpoints/best.ckpt")
    for arguments in (
        ("test", "--evaluation.ood_images", 10),
        ("test", *on_pictures[:4], "--evaluation.ood_images", 0),  # other data gets the size of the network
        ("predict", "--data.pictures", pictures / "test/cat"),
        ("export",),
    ):
        code, out, err = lit_cifar(*arguments, "--ckpt_path", best)
        assert code == 0, err
    assert "uint8 RGB images [N, 3, 48, 48]" in out
    assert len(predict(best, pictures / "test/cat/0000.png")) == 1
    code, _, err = lit_cifar("test", "--ckpt_path", best, *on_pictures, "--data.image_size", 32)
    assert code == 1
    assert "takes images of shape [3, 48, 48]; the data has [3, 32, 32]" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data.source", "synthetic", "--data.image_size", 48), "is for pictures in folders"),
        (("--data.source", "folder", "--data.image_size", 1000), "from 8 to 256"),
    ],
)
def test_sizes_that_can_not_be(options: tuple[object, ...], message: str, lit_cifar: Run, workspace: Path) -> None:
    code, _, err = lit_cifar("fit", "--model.variant", "ELU", *options)
    assert code == 1
    assert message in err


def test_a_checkpoint_outside_of_its_run_imports_nothing(mine: Path, lit_cifar: Run) -> None:
    shutil.copy(mine, "best.ckpt")
    for command in ("test", "export"):
        code, _, err = lit_cifar(command, "--ckpt_path", "best.ckpt")
        assert code == 1
        assert "The variant 'my_module_b.Mine' is not registered here" in err
        assert "my_module_b" not in sys.modules
    shutil.copytree(mine.parent.parent, "downloaded/version_0")
    code, _, err = lit_cifar("test", "--ckpt_path", "downloaded/version_0/checkpoints/best.ckpt")
    assert code == 1
    assert "my_module_b" not in sys.modules, "a run's folder counts below logs/ only"


def test_export_knows_the_variant_of_the_run_and_takes_another_name(mine: Path, lit_cifar: Run) -> None:
    code, _, err = lit_cifar("export", "--ckpt_path", mine, "--format", "state_dict")
    assert code == 0, err
    shutil.copy(mine, "best.ckpt")
    code, _, err = lit_cifar("export", "--ckpt_path", "best.ckpt", "--variant", "my_module_b.Mine")
    assert code == 0, err
    assert Path("best.pt2").is_file()


def test_one_seed_decides_everything(mine: Path) -> None:
    assert torch.load(mine)["lit_cifar"]["data"]["seed"] == 3
    assert yaml.safe_load((mine.parents[1] / "config.yaml").read_text())["data"]["seed"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["test", "--ckpt_path", "no.ckpt"], "There is no checkpoint no.ckpt. Look for one: ls logs/fit/"),
        (["predict", "--data.pictures=no"], "--data.pictures no: there is no such file or folder"),
        (["fit", "--data.source", "folder", "--data.data_dir", "no"], "--data.data_dir no: there is no such folder"),
        (["compare", "--study", "excercise8"], "There is no study 'excercise8'. Did you mean exercise8? Give a YAML"),
        (["fit", "--config", "no.yaml"], "--config no.yaml: there is no such file"),
    ],
)
def test_mistakes_in_paths_are_found_before_torch_is_imported(arguments: list[str], message: str) -> None:
    if arguments[0] not in ("test", "compare"):
        from lit_cifar.commands.paths import check_paths
        from lit_cifar.utils.errors import UserError

        with pytest.raises(UserError) as error:
            check_paths(arguments[0], arguments[1:])
        assert str(error.value).startswith(message)
        return
    code = f"import sys; from lit_cifar.__main__ import main; assert main({arguments}) == 1; "
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert message in done.stderr

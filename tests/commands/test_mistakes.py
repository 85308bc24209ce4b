"""Mistakes on the command line, and runs that fail, end in one line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

from tests.commands.small_runs import SMALL, Run

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.mark.parametrize(
    ("name", "message"), [("out.txt", ".csv or .parquet"), ("file/out.csv", "can't be written to file/out.csv")]
)
def test_an_output_that_can_not_be_written_is_found_before_the_work(
    name: str, message: str, with_dropout: Path, lit_cifar: Run, pictures: Path
) -> None:
    Path("file").write_text("not a folder")
    code, out, err = lit_cifar(
        "predict", "--ckpt_path", with_dropout, "--data.pictures", pictures, "--predictions.output", name
    )
    assert code != 0
    assert message in err
    assert "Predictions of" not in out


def test_predict_names_folders_that_are_no_class(
    with_dropout: Path, lit_cifar: Run, pictures: Path, workspace: Path
) -> None:
    shutil.copytree(pictures / "test/cat", workspace / "zoo/lion")
    shutil.copytree(pictures / "test/cat", workspace / "zoo/cat")
    code, out, err = lit_cifar("predict", "--ckpt_path", with_dropout, "--data.pictures", "zoo")
    assert code == 0, err
    assert "No class is called lion: the pictures in such folders have no label." in out
    assert "of 8 images with a label are right" in out


def test_mc_dropout_needs_dropout(fitted: Path, lit_cifar: Run, on_pictures: list[object]) -> None:
    code, _, err = lit_cifar(
        "test", "--ckpt_path", fitted / "checkpoints/best.ckpt", *on_pictures, "--model.mc_samples", 10
    )
    assert code != 0
    assert "it has no dropout layers" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--model.variant", "SLU"], "Did you mean 'SELU'?"),
        (["fit"], "Which variant?"),
        (["fit", "--model.variant", "SELU", "--model.variant.depth", "0"], "depth=0 is too small"),
        (["fit", "--model.variant", "SELU", "--model.variant.depth", "deep"], "depth"),
        (["fit", "--model.variant", "AlphaDropout", "--model.variant.rate", "1.5"], "rate=1.5 is out of range"),
        (["fit", "--model.variant", "ELU", "--model.learning_rate", "-1"], "--model.learning_rate -1"),
        (["fit", "--model.variant", "ELU", "--model.mc_samples", "-1"], "--model.mc_samples -1"),
        (["fit", "--model.variant", "ELU", "--data.severity", "6"], "--data.severity 6"),
        (["fit", "--model.variant", "ELU", "--data.batch_size", "0"], "--data.batch_size 0"),
        (["fit", "--model.variant", "ELU", "--data.source", "folder", "--data.data_dir", "nowhere"], "nowhere"),
        (["test"], "--ckpt_path"),
        (["test", "--ckpt_path", "nowhere.ckpt"], "There is no checkpoint nowhere.ckpt"),
        (["fit", "--model.lr", "0.1"], "There is no option --model.lr. Did you mean --model.learning_rate?"),
        (["fit", "--epochs", "3"], "Did you mean --trainer.max_epochs?"),
        (["test", "--ckpt", "best.ckpt"], "There is no option --ckpt. Did you mean --ckpt_path?"),
        (["test", "best.ckpt"], "best.ckpt has no option before it. Did you mean --ckpt_path best.ckpt?"),
        (["export", "best.ckpt"], "Did you mean --ckpt_path best.ckpt?"),
        (["predict", "."], ". has no option before it. Did you mean --data.pictures .?"),
        (["compare", "--variants", "ELU", "selu"], "selu has no option before it. Did you mean --variants …,SELU?"),
        (["lr-find", "--model.variant", "ELU", "--confirm", "-3"], "--confirm -3 is negative"),
        (["lr-find", "--model.variant", "ELU", "--steps", "-1"], "--steps -1 is too small: use at least 25"),
        (["fit", "--model.variant.depth", "3"], "--model.variant.depth 3 is an option of a class: name it, too"),
        (["compare", "--variants", ""], "--variants"),
        (["compare", "--variants", "ELU", "--sweep", "learning_rate=fast,slow"], "The sweep of learning_rate: "),
        (["compare", "--variants", "ELU", "--sweep", "batch_size=0,128"], "The sweep of batch_size: "),
        (["compare", "--variants", "ELU", "--sweep", "data.flip=true", "--sweep", "data.flip=false"], "swept twice"),
        (["variants", "SELLU"], "Did you mean 'SELU'?"),
        (["fit", "--config", "."], ". is a folder"),
        (["variants", "chek", "SELU"], "There is no chek. Did you mean check?"),
        (["sources", "chek"], "There is no chek. Did you mean check?"),
        (["test", "--ckpt_path"], "--ckpt_path"),
        (["fly"], "There is no command 'fly'"),
        (["train"], "There is no command 'train'. Did you mean fit?"),
        (["predcit"], "There is no command 'predcit'. Did you mean predict?"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, lit_cifar: Run, workspace: Path) -> None:
    code, _, err = lit_cifar(*arguments)
    assert code != 0
    assert message in err
    assert err.count("lit-cifar: error:") == 1
    assert "Traceback" not in err
    assert not any(workspace.rglob("*.ckpt"))


OWN = """
from torch import nn
from variants import DenseVariant

class Misspelt(DenseVariant):
    def hidden_blok(self, dense, index):
        return [dense, nn.ReLU()]

class NoSuper(DenseVariant):
    def __init__(self, *, slope: float = 0.1):
        self.slope = slope

    def hidden_block(self, dense, index):
        return [dense, nn.ReLU()]

class Nothing(DenseVariant):
    def hidden_block(self, dense, index):
        nn.Sequential(dense, nn.ReLU())

class Empty(DenseVariant):
    def hidden_block(self, dense, index):
        return []

class Keyword(DenseVariant):
    def __init__(self, **dense):
        super().__init__(dept=5, **dense)

    def hidden_block(self, dense, index):
        return [dense]
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Misspelt", "--model.variant own_mistakes.Misspelt: the class has no hidden_block."),
        ("NoSuper", "NoSuper.__init__ must call super().__init__()"),
        ("Nothing", "Nothing.hidden_block has returned None: return a list of modules"),
        ("Empty", "Empty.hidden_block has returned an empty list"),
        ("Keyword", "error: DenseVariant.__init__() got an unexpected keyword argument 'dept'"),
    ],
)
def test_mistakes_in_an_own_variant_are_one_line(
    name: str,
    message: str,
    lit_cifar: Run,
    on_pictures: list[object],
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_mistakes", raising=False)
    Path("own_mistakes.py").write_text(OWN)
    code, _, err = lit_cifar("fit", "--model.variant", f"own_mistakes.{name}", *on_pictures)
    assert code != 0
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not Path("logs/fit", name).exists()
    monkeypatch.delitem(sys.modules, "own_mistakes", raising=False)


def test_a_file_that_is_no_checkpoint_is_refused(lit_cifar: Run, workspace: Path) -> None:
    Path("text.ckpt").write_text("hello")
    Path("cut.ckpt").write_bytes(b"PK\x03\x04 and no more")
    torch.save({"weights": torch.zeros(1)}, "foreign.ckpt")
    for name in ("text", "cut", "foreign"):
        code, _, err = lit_cifar("test", "--ckpt_path", f"{name}.ckpt")
        assert code != 0
        assert f"{name}.ckpt" in err
        assert "Traceback" not in err


def test_val_size_too_large(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> None:
    code, _, err = lit_cifar("fit", "--model.variant", "ELU", *on_pictures, "--data.val_size", 119)
    assert code != 0
    assert "--data.val_size 119 is too large" in err


def test_a_loss_that_blows_up_stops_the_run_and_keeps_the_last_good_checkpoint(
    lit_cifar: Run, on_pictures: list[object], workspace: Path
) -> None:
    code, _, err = lit_cifar(
        "fit", "--model.variant", "ELU", *SMALL, *on_pictures, "--model.optimizer", "SGD", "--model.learning_rate", 1e30
    )
    assert code != 0
    assert "The loss became" in err
    for path in workspace.rglob("*.ckpt"):
        assert all(w.isfinite().all() for w in torch.load(path)["state_dict"].values())


def test_a_logs_folder_that_can_not_be_written(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> None:
    Path("logs").write_text("a file where the folder should be")
    code, _, err = lit_cifar("fit", "--model.variant", "ELU", *SMALL, *on_pictures, "--trainer.max_epochs", 1)
    assert code != 0
    assert "logs" in err
    assert "Traceback" not in err
    assert [path.name for path in workspace.iterdir()] == ["logs"]

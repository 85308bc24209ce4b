"""`fit`, `validate`, `test` and `predict` as a user types them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from lit_cifar.data.sources.synthetic import SyntheticSource
from lit_cifar.training.module import LitClassifier
from tests.commands.small_runs import SMALL, Run

pytestmark = pytest.mark.usefixtures("no_figures")


def test_fit_leaves_what_the_readme_says(fitted: Path) -> None:
    assert {path.name for path in fitted.iterdir()} >= {"config.yaml", "metrics.csv", "checkpoints"}
    assert {path.name for path in (fitted / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list(fitted.glob("events.out.tfevents.*"))
    metrics = pd.read_csv(fitted / "metrics.csv")
    logged = {"train/loss", "train/accuracy", "train/seconds", "val/loss", "val/accuracy"}
    assert logged <= set(metrics.columns)
    assert set(metrics["epoch"]) == {0, 1}


def test_a_finished_fit_says_what_came_out_and_what_to_type_next(
    lit_cifar: Run, on_pictures: list[object], workspace: Path
) -> None:
    code, out, err = lit_cifar("fit", "--model.variant", "ELU", *SMALL, *on_pictures, "--trainer.max_epochs", 3)
    assert code == 0, err
    best = "logs/fit/ELU/version_0/checkpoints/best.ckpt"
    losses = pd.read_csv("logs/fit/ELU/version_0/metrics.csv").groupby("epoch")["val/loss"].first()
    assert f"Best epoch: {losses.argmin() + 1} of 3 (val/loss {losses.min():.4f}). Learning rate: 0.0002" in out
    assert f"Best weights: {best}\nNext: lit-cifar test --ckpt_path {best}\n" in out
    assert "body.hidden_01" in out, "the model summary shows the layers"
    assert "metric" not in out.split("Best epoch")[0]


@pytest.mark.parametrize(
    "mistake",
    [("--data.val_size", 119), ("--model.compile", "true", "--model.variant.depth", 0), ("--data.batch_size", 0)],
)
def test_failed_starts_leave_no_folder(
    mistake: tuple[object, ...], lit_cifar: Run, on_pictures: list[object], workspace: Path
) -> None:
    code, _, err = lit_cifar("fit", "--model.variant", "ELU", *SMALL, *on_pictures, *mistake)
    assert code == 1
    assert err.count("lit-cifar: error:") == 1
    assert not list(workspace.glob("logs/*/*/version_*"))


def test_config_of_a_run_repeats_it(fitted: Path, lit_cifar: Run) -> None:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    assert config["model"]["variant"]["init_args"]["depth"] == 2
    code, _, err = lit_cifar("fit", "--config", fitted / "config.yaml")
    assert code == 0, err
    first, second = (torch.load(fitted.parent / f"version_{n}/checkpoints/last.ckpt") for n in (0, 1))
    for name, weights in first["state_dict"].items():
        assert torch.equal(weights, second["state_dict"][name]), name


@pytest.mark.filterwarnings("default")  # jsonargparse only warns of what it can't write
@pytest.mark.parametrize("scheduler", ["one_cycle", "CosineAnnealingLR"])
def test_config_keeps_the_scheduler(scheduler: str, lit_cifar: Run, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--model.scheduler.T_max", "9"] if scheduler != "one_cycle" else []
    with pytest.raises(SystemExit):
        lit_cifar("fit", "--model.variant", "ELU", "--model.scheduler", scheduler, *options, "--print_config")
    assert scheduler in capfd.readouterr().out


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # as Lightning should say
def test_fit_may_end_before_the_first_validation(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> None:
    code, _, err = lit_cifar("fit", "--model.variant", "SELU", *SMALL, *on_pictures, "--trainer.max_steps", 1)
    assert code == 0, err
    assert {path.name for path in workspace.glob("logs/fit/SELU/version_0/checkpoints/*")} == {"last.ckpt"}


@pytest.mark.parametrize(
    "precision", ["bf16-mixed", *(pytest.param(p, marks=pytest.mark.slow) for p in ("bf16-true", "64-true"))]
)
def test_other_precisions(precision: str, lit_cifar: Run, on_pictures: list[object], workspace: Path) -> None:
    chosen = ["--trainer.precision", precision, *on_pictures]
    code, _, err = lit_cifar("fit", "--model.variant", "AlphaDropout", "--trainer.max_epochs", 1, *chosen)
    assert code == 0, err
    best = Path("logs/fit/AlphaDropout/version_0/checkpoints/best.ckpt")
    code, out, err = lit_cifar("test", "--ckpt_path", best, "--model.mc_samples", 3, *chosen)
    assert code == 0, err
    assert "mean of 3 MC samples" in out
    code, _, err = lit_cifar("predict", "--ckpt_path", best, *chosen)
    assert code == 0, err
    predictions = pd.read_csv("logs/predict/AlphaDropout/version_0/predictions.csv")
    assert predictions.filter(like="probability_").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)


def test_test_and_validate_need_only_the_checkpoint_and_data(
    fitted: Path, lit_cifar: Run, on_pictures: list[object]
) -> None:
    best = fitted / "checkpoints/best.ckpt"
    code, out, err = lit_cifar("test", "--ckpt_path", best, *on_pictures)
    assert code == 0, err
    assert "one pass, no dropout" in out
    assert "mean of" not in out
    code, out, err = lit_cifar("validate", "--ckpt_path", best, *on_pictures)
    assert code == 0, err
    assert "val/loss" in out


def test_predict_writes_a_row_for_each_picture(
    fitted: Path, lit_cifar: Run, on_pictures: list[object], pictures: Path, workspace: Path
) -> None:
    best = fitted / "checkpoints/best.ckpt"
    code, out, err = lit_cifar(
        "predict", "--ckpt_path", best, "--data.pictures", pictures / "test", "--predictions.output", "out.csv"
    )
    assert code == 0, err
    table = pd.read_csv(workspace / "out.csv")
    first, right = table.iloc[0], (table["label"] == table["prediction"]).sum()
    assert f"\ncat/0000.png: {first['prediction']}, {first['confidence']:.1%}" in out
    assert "… and 19 more" in out
    assert f"{right} of 24 images with a label are right" in out
    code, out, err = lit_cifar("predict", "--ckpt_path", best, "--data.pictures", pictures / "test/cat/0000.png")
    assert code == 0, err
    assert f"\n0000.png: {first['prediction']} {first['confidence']:.1%}, " in out
    assert len(table) == 24
    assert table["path"][0] == "cat/0000.png"
    probabilities = table[["probability_cat", "probability_dog", "probability_frog"]]
    assert probabilities.sum(axis=1).between(0.999, 1.001).all()
    assert (probabilities.idxmax(axis=1).str.removeprefix("probability_") == table["prediction"]).all()
    assert (table["label"] == table["path"].str.partition("/")[0]).all()
    assert (table["label"] == table["prediction"]).mean() > 0.8


def test_test_measures_mc_dropout_beside_the_plain_network(
    with_dropout: Path, lit_cifar: Run, on_pictures: list[object]
) -> None:
    code, out, err = lit_cifar(
        "test", "--ckpt_path", with_dropout, *on_pictures, "--model.mc_samples", 20, "--evaluation.foreign_images", 0,
        "--data.corruption", "noise", "--data.severity", 5,
    )  # fmt: skip
    assert code == 0, err
    assert "CORRUPTED by noise, severity 5 of 5" in out
    assert "mean of 20 MC samples" in out
    for score in ("accuracy", "NLL", "Brier score", "ECE, 15 bins", "AURC"):
        assert re.search(rf"^{score} +[\d.]+( %)? +[\d.]+( %)?$", out, re.MULTILINE)
    found = json.loads(Path("logs/test/AlphaDropout/version_0/test.json").read_text())
    assert set(found["scores"]) == {"deterministic", "mc"}
    assert "detection" not in found


def test_predict_with_mc_dropout_tells_uncertainties(
    with_dropout: Path, lit_cifar: Run, pictures: Path, workspace: Path
) -> None:
    (workspace / "mine").mkdir()
    for source in (pictures / "test/cat").iterdir():
        (workspace / "mine" / source.name).write_bytes(source.read_bytes())
    (workspace / "mine/broken.png").write_bytes(b"no picture")
    tables = []
    for name in ("one.csv", "two.parquet"):
        code, out, err = lit_cifar(
            "predict", "--ckpt_path", with_dropout, "--data.pictures", "mine", "--model.mc_samples", 20,
            "--predictions.output", name,
        )  # fmt: skip
        assert code == 0, err
        assert "1 of them could not be read" in out
        assert "Not read: broken.png: " in out
        tables.append(pd.read_csv(name) if name.endswith("csv") else pd.read_parquet(name))
    table, again = tables
    again = again.where(again.notna(), float("nan"))  # Parquet's missing text is None
    pd.testing.assert_frame_equal(table, again, check_dtype=False, rtol=1e-5)
    assert table["path"].tolist()[-1] == "broken.png"
    assert table["error"].notna().tolist() == [False] * 8 + [True]
    read = table[table["error"].isna()]
    assert (read["predictive_entropy"] >= read["expected_entropy"] - 1e-6).all()
    assert (read["mutual_information"] > 0).all()
    assert read["variation_ratio"].between(0, 1).all()


@pytest.mark.slow
def test_two_processes_find_what_one_does(with_dropout: Path, lit_cifar: Run, on_pictures: list[object]) -> None:
    options = ["--ckpt_path", with_dropout, *on_pictures, "--model.mc_samples", 10]
    predict = ["predict", *options, "--predictions.output"]
    test = ["test", *options, "--evaluation.ood_images", 10]
    assert lit_cifar(*predict, "one.csv")[0] == lit_cifar(*test)[0] == 0
    for command in ([*predict, "two.csv"], test):
        together = [*command, "--trainer.strategy", "ddp", "--trainer.devices", 2]
        subprocess.run([sys.executable, "-m", "lit_cifar", *map(str, together)], check=True)  # noqa: S603
    pd.testing.assert_frame_equal(pd.read_csv("one.csv"), pd.read_csv("two.csv"), rtol=1e-4, atol=1e-5)
    reports = [json.loads(path.read_text()) for path in sorted(Path("logs/test/AlphaDropout").glob("*/test.json"))]
    assert len(reports) == 2
    for kind in ("deterministic", "mc"):
        assert reports[0]["scores"][kind] == pytest.approx(reports[1]["scores"][kind], abs=1e-5)


def test_loads_from_python(fitted: Path) -> None:
    model = LitClassifier.load_from_checkpoint(fitted / "checkpoints/best.ckpt")
    assert model.class_names == ("cat", "dog", "frog")
    assert model.variant.init_args["depth"] == 2
    assert model(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 3)


def test_other_loggers_and_none(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> None:
    for logger in ("CSVLogger", "false"):
        save_dir = ["--trainer.logger.save_dir", "elsewhere"] if logger == "CSVLogger" else []
        code, _, err = lit_cifar(
            "fit", "--model.variant", "ELU", *SMALL, *on_pictures, "--trainer.max_epochs", 1,
            "--trainer.logger", logger, *save_dir,
        )  # fmt: skip
        assert code == 0, err
        assert {path.name for path in workspace.iterdir()} <= {"elsewhere", "logs"}, "nothing beside the logs"
    assert list(Path("elsewhere").rglob("metrics.csv"))
    assert list(Path("logs/fit/ELU").glob("version_*/checkpoints/best.ckpt"))


NO_FOLDER = """\
from lightning.pytorch.loggers.logger import DummyLogger

class NoFolder(DummyLogger):
    save_dir = log_dir = None
"""


def test_a_logger_without_a_folder(
    lit_cifar: Run, on_pictures: list[object], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MLflow's with a database."""
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "no_folder", raising=False)
    Path("no_folder.py").write_text(NO_FOLDER)
    code, _, err = lit_cifar(
        "fit", "--model.variant", "ELU", *SMALL, *on_pictures, "--trainer.max_epochs", 1,
        "--trainer.logger", "no_folder.NoFolder", "--trainer.default_root_dir", "here",
    )  # fmt: skip
    assert code == 0, err
    assert Path("here/checkpoints/last.ckpt").is_file()
    assert not list(workspace.rglob("config.yaml"))


def test_synthetic_images_need_nothing(lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyntheticSource.__init__, "__kwdefaults__", {"train_size": 6000, "test_size": 50, "seed": 0})
    code, _out, err = lit_cifar(
        "fit", "--model.variant", "ELU", *SMALL, "--data.source", "synthetic", "--trainer.max_epochs", 1,
        "--trainer.limit_train_batches", 5, "--trainer.limit_val_batches", 1, "--trainer.enable_progress_bar", "false",
    )  # fmt: skip
    assert code == 0, err


def test_help_and_version_do_not_import_torch() -> None:
    code = "import sys; from lit_cifar.__main__ import main; main(['--help']); main(['--version']); "
    code += "assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert "lit-cifar 0.1.0" in result.stdout
    assert "compare" in result.stdout


MY_VARIANT = """
from torch import nn
from variants import DenseVariant

class Mine(DenseVariant):
    def hidden_block(self, dense, index):
        return [dense, nn.Tanh()]
"""


def test_a_variant_of_the_users_own_by_its_class_path(
    lit_cifar: Run, on_pictures: list[object], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("my_module_a.py").write_text(MY_VARIANT)
    code, _, err = lit_cifar(
        "fit", "--model.variant", "my_module_a.Mine", *SMALL, *on_pictures, "--trainer.max_epochs", 1
    )
    assert code == 0, err
    best = workspace / "logs/fit/Mine/version_0/checkpoints/best.ckpt"
    best = best.rename("best.ckpt")
    code, _, err = lit_cifar("test", "--ckpt_path", best, *on_pictures)
    assert code != 0
    assert "--model.variant my_module_a.Mine" in err, "a checkpoint alone must not make us import anything"
    code, _, err = lit_cifar("test", "--ckpt_path", best, *on_pictures, "--model.variant", "my_module_a.Mine")
    assert code == 0, err

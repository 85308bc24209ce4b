"""What TensorBoard reads from the files of a run."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from tensorboard import program
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.metadata import (
    EXPERIMENT_TAG,
    SESSION_START_INFO_TAG,
    parse_session_start_info_plugin_data,
)
from torch import Tensor, nn

import variants
from lit_cifar.callbacks import EpochTime, LearningRateLogger, NetworkGraph
from lit_cifar.callbacks.error_figures import last_hidden
from lit_cifar.callbacks.hparams_row import run_settings
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.normalization import Scale
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.optimization import Scheduler, scheduler_name
from lit_cifar.training.tensorboard import add_to_row, show_images, write_row
from variants import DenseVariant

Run = Callable[..., tuple[int, str, str]]
SMALL = ("--model.variant.depth", 2, "--model.variant.width", 16)


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0})
    found.Reload()
    return found


def text(found: EventAccumulator, tag: str) -> str:
    return found.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()


def settings(found: EventAccumulator) -> Mapping[str, object]:
    """What a row of the HParams tab says was set."""
    metadata = found.summary_metadata[SESSION_START_INFO_TAG].plugin_data.content
    hparams = parse_session_start_info_plugin_data(metadata).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}


def fit(variant: str, *arguments: object, lit_cifar: Run) -> Path:
    code, _, err = lit_cifar("fit", "--model.variant", variant, *SMALL, *arguments, "--trainer.max_epochs", 2)
    assert code == 0, err
    return Path("logs/fit", variant, "version_0")


def test_a_fit_and_its_test_fill_every_tab(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> None:
    run = fit("AlphaDropout", *on_pictures, "--histograms.every_n_epochs", 2, lit_cifar=lit_cifar)
    code, _, err = lit_cifar("test", "--ckpt_path", run / "checkpoints/best.ckpt", *on_pictures)
    assert code == 0, err
    _check_fit(events(run))
    _check_row(events(run), run)
    assert {path.parent for path in Path("logs/fit").rglob("events.*")} == {run}, "one run of TensorBoard"
    _check_test(events(Path("logs/test/AlphaDropout/version_0")), Path("logs/test/AlphaDropout/version_0"))


def _check_fit(found: EventAccumulator) -> None:
    tags = found.Tags()
    assert {tag.partition("/")[0] for tag in tags["scalars"]} == {"test", "train", "val"}
    assert {"train/learning_rate", "train/images_per_second"} <= set(tags["scalars"])
    assert {f"{kind}/{name}" for kind in ("weights", "activations") for name in ("hidden_01", "output")} <= set(
        tags["histograms"]
    )
    assert [event.step for event in found.Histograms("weights/output")] == [1]
    assert tags["graph"]
    assert "visual/layer_std" in tags["images"]
    assert "width: 16" in text(found, "config")
    assert "lit-cifar" in text(found, "command")
    assert "variants.alpha_dropout.AlphaDropout" in text(found, "variant")
    assert "pictures in" in text(found, "data")
    layout = Layout.FromString(found.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["All runs", "Training and validation of one run"]
    logged = set(tags["scalars"])
    for chart in (chart for category in layout.category for chart in category.chart):
        assert set(chart.multiline.tag) <= logged, chart.title
    assert all(len(chart.multiline.tag) == 1 for chart in layout.category[0].chart), "a line for each run"


def _check_row(found: EventAccumulator, run: Path) -> None:
    row = settings(found)
    assert row["variant"] == "AlphaDropout"
    assert (row["rate"], row["depth"], row["batch_size"]) == (0.1, 2, 16)
    assert row["seed"] == "0", "a number would be shown as 0.0000"
    assert row["scheduler"] == "constant"
    assert row["learning_rate"] == variants.get("AlphaDropout").learning_rate
    scalars = {tag: found.Scalars(tag)[-1].value for tag in found.Tags()["scalars"]}
    assert {tag for tag in scalars if tag.startswith("test/")} == {"test/accuracy", "test/nll", "test/ece"}
    history = pd.read_csv(run / "metrics.csv").groupby("epoch").first()
    assert scalars["val/best_loss"] == pytest.approx(history["val/loss"].min())
    assert scalars["train/total_seconds"] > history["train/seconds"].sum()
    tested = pd.read_csv("logs/test/AlphaDropout/version_0/metrics.csv").iloc[0]
    assert scalars["test/accuracy"] == pytest.approx(tested["test/accuracy"])
    assert EXPERIMENT_TAG not in found.summary_metadata, "TensorBoard would take its columns for those of every run"


def _check_test(found: EventAccumulator, folder: Path) -> None:
    pictures = {f"test/{name}" for name in ("confusion_matrix", "class_accuracy", "worst_errors")}
    assert pictures | {"uncertainty/reliability"} <= set(found.Tags()["images"])
    embedding = folder / "00000/last_hidden_layer"
    metadata = pd.read_csv(embedding / "metadata.tsv", sep="\t")
    assert list(metadata.columns) == ["class", "prediction", "answer"]
    assert metadata["class"].tolist() == ["cat"] * 8 + ["dog"] * 8 + ["frog"] * 8
    right = metadata["class"] == metadata["prediction"]
    assert (metadata["answer"] == right.map({True: "right", False: "wrong"})).all()
    vectors = pd.read_csv(embedding / "tensors.tsv", sep="\t", header=None)
    assert vectors.shape == (24, 16)
    assert vectors.std().min() > 0
    assert 'tensor_name: "last_hidden_layer:00000"' in (folder / "projector_config.pbtxt").read_text()


@pytest.mark.parametrize("logger", ["CSVLogger", "false"])
def test_test_without_tensorboard(lit_cifar: Run, on_pictures: list[object], workspace: Path, logger: str) -> None:
    save_dir = ["--trainer.logger.save_dir", "elsewhere"] if logger == "CSVLogger" else []
    without = ["--trainer.logger", logger, *save_dir]
    model = LitClassifier(variants.get("ELU")(depth=1, width=8))
    trainer = Trainer(max_epochs=1, logger=False, accelerator="cpu", enable_progress_bar=False, callbacks=[])
    data_dir = on_pictures[3]
    trainer.fit(model, datamodule=CIFAR10DataModule(source="folder", data_dir=str(data_dir), val_size=30))
    trainer.save_checkpoint("some.ckpt")
    code, out, err = lit_cifar("test", "--ckpt_path", "some.ckpt", *on_pictures, *without)
    assert code == 0, err
    assert "accuracy" in out
    assert not list(workspace.rglob("events.out.tfevents.*"))


def test_the_projector_gets_what_the_output_layer_sees() -> None:
    model = LitClassifier(variants.get("ConvNet")(stages=2, channels=4))
    model.build(("a", "b"), Scale.empty((3, 32, 32)))
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8)
    hidden = last_hidden(model, images)
    assert hidden is not None
    assert hidden.shape == (5, 8)
    assert torch.allclose(model.eval().network.body.output(hidden), model(images))


class Untraceable(DenseVariant):
    """Has a layer that no tracer gets through."""

    def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
        return [dense, _RefusesTracing()]


class _RefusesTracing(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("no tracing here\nsecond line")
        return images.relu()


def train(pictures: Path, logger: CSVLogger | TensorBoardLogger, variant: DenseVariant, **arguments: object) -> None:
    seed_everything(0, verbose=False)
    Trainer(
        max_epochs=3, logger=logger, callbacks=[EpochTime(), LearningRateLogger(), NetworkGraph()], log_every_n_steps=1,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, accelerator="cpu",
        limit_train_batches=2,
    ).fit(
        LitClassifier(variant, **arguments),
        datamodule=CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16),
    )  # fmt: skip


def test_a_network_that_can_not_be_traced_is_trained_all_the_same(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(pictures, TensorBoardLogger(tmp_path, "", ""), Untraceable(depth=1, width=4))
    assert "TensorBoard gets no graph of this network: no tracing here\n" in capsys.readouterr().out
    assert len(events(tmp_path).Scalars("train/loss")) == 3


def test_the_learning_rate_and_the_speed_of_each_epoch(pictures: Path, tmp_path: Path) -> None:
    train(
        pictures,
        CSVLogger(tmp_path, "", ""),
        variants.get("ELU")(depth=1, width=4),
        learning_rate=0.1,
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5),
    )
    epochs = pd.read_csv(tmp_path / "metrics.csv").groupby("epoch").first()
    assert epochs["train/learning_rate"].tolist() == pytest.approx([0.1, 0.05, 0.025])
    assert (epochs["train/images_per_second"] * epochs["train/seconds"]).tolist() == pytest.approx([32, 32, 32])


@pytest.mark.parametrize("checkpoint", ["checkpoints/best.ckpt", "checkpoints/by/epoch/best.ckpt"])
def test_test_scores_go_to_the_row_of_the_checkpoints_run(checkpoint: str, tmp_path: Path) -> None:
    write_row(tmp_path, {"depth": 2}, {"val/best_loss": 1.0})
    add_to_row(tmp_path / checkpoint, {"test/accuracy": 0.5})
    assert events(tmp_path).Scalars("test/accuracy")[0].value == 0.5


def test_test_scores_of_an_older_run_go_to_its_folder_of_the_row(tmp_path: Path) -> None:
    write_row(tmp_path, {}, {"train/loss": 1.0})
    write_row(tmp_path / "hparams", {"depth": 2}, {"best/loss": 1.0})
    add_to_row(tmp_path / "checkpoints/best.ckpt", {"test/accuracy": 0.5})
    assert events(tmp_path / "hparams").Scalars("test/accuracy")[0].value == 0.5
    assert "test/accuracy" not in events(tmp_path).Tags()["scalars"]


def test_test_scores_of_a_run_without_events_go_nowhere(tmp_path: Path) -> None:
    write_row(tmp_path, {}, {"train/loss": 1.0})
    run = tmp_path / "version_0"
    run.mkdir()
    (run / "metrics.csv").write_text("epoch\n0\n")
    add_to_row(run / "checkpoints/best.ckpt", {"test/accuracy": 0.5})
    assert not list(run.glob("events.*"))
    assert "test/accuracy" not in events(tmp_path).Tags()["scalars"]


@pytest.mark.parametrize(
    ("scheduler", "name"),
    [
        (None, "constant"),
        ("one_cycle", "one_cycle"),
        (lambda optimizer: torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 1.0), "CyclicLR"),
        (torch.optim.lr_scheduler.ReduceLROnPlateau, "ReduceLROnPlateau"),
    ],
)
def test_a_row_tells_the_scheduler(scheduler: Scheduler, name: str) -> None:
    assert scheduler_name(scheduler) == name


def test_a_row_names_regularization_that_is_on() -> None:
    data = CIFAR10DataModule(source="synthetic", flip=True, mixup=0.2)
    model = LitClassifier(variants.get("ELU")(), l1=1e-4)
    row = run_settings(model, data, torch.optim.SGD(nn.Linear(1, 1).parameters()), 3)
    assert (row["l1"], row["flip"], row["mixup"], row["seed"]) == (1e-4, True, 0.2, "3")
    assert not {"sparsity", "max_norm", "cutout", "crop_padding"} & set(row)


def test_predictions_are_not_among_the_runs(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> None:
    run = fit("ELU", *on_pictures, lit_cifar=lit_cifar)
    code, _, err = lit_cifar("predict", "--ckpt_path", run / "checkpoints/best.ckpt")
    assert code == 0, err
    assert Path("logs/predict/ELU/version_0/predictions.csv").is_file()
    assert not list(Path("logs/predict").rglob("events.*"))


def test_images_of_a_folder_are_replaced(tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(png, "PNG")
    for name in ("first", "second"):
        show_images({name: png.getvalue()}, tmp_path)
    assert events(tmp_path).Tags()["images"] == ["visual/second"]
    shown = Image.open(io.BytesIO(events(tmp_path).Images("visual/second")[0].encoded_image_string))
    assert (shown.size, shown.getpixel((0, 0))) == ((4, 3), (255, 0, 0))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What TensorBoard is started with, in place of starting it."""
    arguments: list[object] = []
    monkeypatch.setattr(program.TensorBoard, "main", lambda self: arguments.append(self.flags) or 0)
    return arguments


def test_tensorboard_opens_on_logs(lit_cifar: Run, workspace: Path, served: list[object]) -> None:
    Path("logs").mkdir()
    Path("elsewhere").mkdir()
    assert lit_cifar("tensorboard", "--port", 6007)[0] == 0
    assert lit_cifar("tensorboard", "--logdir", "elsewhere")[0] == 0
    assert [(flags.logdir, flags.port) for flags in served] == [("logs", 6007), ("elsewhere", None)]


def test_tensorboard_needs_a_folder_that_is_there(lit_cifar: Run, workspace: Path, served: list[object]) -> None:
    code, _, err = lit_cifar("tensorboard", "--logdir=nowhere")
    assert (code, served) == (1, [])
    assert "--logdir nowhere: there is no such folder" in err


def test_tensorboard_without_logs_says_what_to_do(lit_cifar: Run, workspace: Path, served: list[object]) -> None:
    code, _, err = lit_cifar("tensorboard")
    assert code != 0
    assert err == "lit-cifar: error: There is no folder logs here: train something first, or give --logdir FOLDER.\n"


def test_histograms_out_of_range(lit_cifar: Run, workspace: Path) -> None:
    code, _, err = lit_cifar("fit", "--model.variant", "ELU", "--histograms.every_n_epochs", -1)
    assert code != 0
    assert "every_n_epochs=-1 is negative" in err

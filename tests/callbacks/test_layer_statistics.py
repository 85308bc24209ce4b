"""Statistics of layers, for networks whose statistics are known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from torch import nn

import variants
from lit_cifar.callbacks import LayerStatistics
from lit_cifar.callbacks.layer_statistics import activation_statistics, layers
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.data.normalization import Scale
from lit_cifar.training.module import LitClassifier
from variants import DenseVariant


class HalfDead(DenseVariant):
    """Every second unit of a hidden layer is dead."""

    def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
        with torch.no_grad():
            dense.bias[::2] = -1e6
        return [dense, nn.ReLU()]


def classifier(variant: DenseVariant) -> LitClassifier:
    seed_everything(0, verbose=False)
    model = LitClassifier(variant)
    model.build(("a", "b", "c"), Scale(torch.full((3, 32, 32), 127.5), torch.full((3, 32, 32), 73.9)))
    return model


def random_images(count: int) -> torch.Tensor:
    return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_layers_are_those_with_weights() -> None:
    assert list(layers(classifier(HalfDead(depth=2)))) == ["hidden_01", "hidden_02", "output"]


def test_dead_units_are_counted() -> None:
    found = activation_statistics(classifier(HalfDead(depth=2, width=40)), random_images(50))
    assert found["dead/hidden_01"] == found["dead/hidden_02"] == 0.5
    assert found["dead/output"] == 0


def test_twins_are_counted() -> None:
    class Twins(DenseVariant):
        """The first two units of a hidden layer are the same."""

        def hidden_block(self, dense: nn.Linear, index: int) -> list[nn.Module]:
            with torch.no_grad():
                dense.weight[1] = dense.weight[0]
            return [dense, nn.ELU()]

    found = activation_statistics(classifier(Twins(depth=20, width=100)), random_images(500))
    assert [found[f"twins/hidden_{index:02d}"].item() for index in (1, 10, 20)] == pytest.approx([0.02] * 3)
    assert found["twins/output"] == 0


def test_selu_keeps_mean_zero_and_deviation_one() -> None:
    found = activation_statistics(classifier(variants.get("SELU")(depth=20, width=200)), random_images(500))
    for index in range(1, 21):
        assert found[f"mean/hidden_{index:02d}"] == pytest.approx(0, abs=0.1)
        assert found[f"std/hidden_{index:02d}"] == pytest.approx(1, abs=0.15)


def test_modes_and_buffers_are_left_alone() -> None:
    model = classifier(variants.get("BatchNorm")(depth=2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    activation_statistics(model, random_images(10))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_gradient_and_update_ratio_are_those_of_the_last_step(pictures: Path, tmp_path: Path) -> None:
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=90)
    seed_everything(0, verbose=False)
    model = LitClassifier(variants.get("ELU")(depth=2, width=8), optimizer=torch.optim.SGD, learning_rate=0.01)
    logger = CSVLogger(tmp_path, name="", version="")
    callback = LayerStatistics()
    Trainer(
        max_epochs=2, logger=logger, callbacks=[callback], log_every_n_steps=1, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, accelerator="cpu",
    ).fit(model, datamodule=data)  # fmt: skip
    rows = pd.read_csv(tmp_path / "metrics.csv")
    assert rows.loc[rows["layer_std/output"].notna(), "step"].tolist() == [0, 1]  # where the epoch's loss is too
    metrics = rows.groupby("epoch").first()
    for name, layer in layers(model).items():
        weights = torch.cat([p.detach().flatten() for p in layer.parameters()])
        update = metrics[f"layer_update_ratio/{name}"][1] * weights.square().mean().sqrt().item()
        assert update == pytest.approx(0.01 * metrics[f"layer_gradient_rms/{name}"][1], rel=0.01)  # SGD's update
        assert metrics[f"layer_std/{name}"].notna().all()
    kept = callback.state_dict()["history"]["std"]
    torch.testing.assert_close(kept, torch.tensor(metrics.filter(like="layer_std").to_numpy(), dtype=kept.dtype))


def test_layers_of_a_healthy_network_have_gradients_of_one_size(pictures: Path, tmp_path: Path) -> None:
    """Layer 1 has 31 times the weights of the others: the norms of whole layers would read as exploding gradients."""
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=90)
    seed_everything(0, verbose=False)
    model = LitClassifier(variants.get("SELU")(depth=4, width=100), learning_rate=1e-5)
    callback = LayerStatistics()
    Trainer(
        max_epochs=1, logger=False, callbacks=[callback], enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, accelerator="cpu",
    ).fit(model, datamodule=data)  # fmt: skip
    hidden = callback.state_dict()["history"]["gradient_rms"][-1, :-1]
    assert hidden.max() < 2 * hidden.min()


def test_a_checkpoint_of_an_older_version_is_continued_without_its_gradients() -> None:
    callback = LayerStatistics()
    callback.load_state_dict({"history": {"mean": [[0.1, 0.2]], "gradient_norm": [[5.0, 1.0]]}})
    history = callback.state_dict()["history"]
    assert history["mean"].tolist() == [pytest.approx([0.1, 0.2])]
    assert history["gradient_rms"].shape == (1, 2)
    assert history["gradient_rms"].isnan().all()


def test_a_checkpoint_has_one_tensor_for_each_statistic() -> None:
    rows = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    callback = LayerStatistics()
    callback.load_state_dict({"history": {"mean": rows}})  # as files of older versions have them
    state = callback.state_dict()
    assert torch.equal(state["history"]["mean"], torch.tensor(rows))
    continued = LayerStatistics()
    continued.load_state_dict(state)
    assert torch.equal(continued.state_dict()["history"]["mean"], torch.tensor(rows))


class Wrapped(nn.Module):
    """Holds its network in an attribute, as many published ones do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images)


def test_a_wrapper_around_the_network_is_no_layer() -> None:
    class Published(HalfDead):
        """A network in a wrapper in a wrapper."""

        def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
            return Wrapped(Wrapped(super().build(image_shape, num_classes)))

    assert list(layers(classifier(Published(depth=2)))) == ["hidden_01", "hidden_02", "output"]


def test_layers_of_a_convolutional_network_are_named_by_depth() -> None:
    model = classifier(variants.get("ConvNet")(stages=2, channels=4))
    assert list(layers(model)) == ["conv_01", "conv_02", "conv_03", "conv_04", "output"]
    found = activation_statistics(model, random_images(20))
    assert all(value.isfinite() for value in found.values())
    assert found["std/conv_01"] > 0

"""`lit-cifar export` as a user types it, and its files without lit_cifar."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import variants
from lit_cifar.commands import export as exporting
from lit_cifar.commands.export import export_network
from lit_cifar.data.normalization import Scale
from lit_cifar.data.sources import read_pictures
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError

Run = Callable[..., tuple[int, str, str]]
PAGE = (Path(__file__).parents[2] / "docs/export.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
pytestmark = pytest.mark.usefixtures("no_figures")


def classifier(name: str) -> LitClassifier:
    """Untrained, behind a scaling that matters."""
    model = LitClassifier(variants.get(name)())
    images = torch.randint(256, (50, 3, 32, 32), dtype=torch.uint8)
    model.build(["ant", "bee"], Scale.fit("standardize", images))
    return model


@pytest.fixture
def checkpoint(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> Path:
    small = ("--model.variant.depth", 2, "--model.variant.width", 16)
    code, _, err = lit_cifar("fit", "--model.variant", "SELU", *small, *on_pictures, "--trainer.max_epochs", 1)
    assert code == 0, err
    return Path("logs/fit/SELU/version_0/checkpoints/best.ckpt")


@pytest.mark.slow
def test_the_page_shows_how_to_use_each_file_without_lit_cifar(
    checkpoint: Path, lit_cifar: Run, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("onnx", "torch", "state_dict"):
        code, out, err = lit_cifar("export", "--ckpt_path", checkpoint, "--format", name)
        assert code == 0, err
        assert "classes cat, dog, frog" in out
    for file in ("best.onnx", "best.pt2", "best.pt"):
        shutil.move(checkpoint.with_name(file), file)
    shutil.copy(pictures / "test/frog/0000.png", "picture.png")
    picture, *examples = BLOCKS
    found = []
    for example in examples:
        assert "lit_cifar" not in example
        names: dict[str, Any] = {}
        exec(picture + example, names)  # noqa: S102 - our own page
        assert names["classes"] == ["cat", "dog", "frog"]
        found.append(torch.as_tensor(names["logits"]))
    expected = LitClassifier.load_from_checkpoint(checkpoint).eval()(torch.tensor(names["image"]))
    assert len(found) == 3
    for logits in found:
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4, check_device=False)
    assert {line.split()[0] for line in capfd.readouterr().out.splitlines()} <= {"cat", "dog", "frog"}


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 48, 48)], ids=["grey", "large"])
@pytest.mark.parametrize("form", ["torch", "state_dict", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_file_tells_the_shape_it_takes_and_the_page_reads_pictures_by_it(
    form: exporting.Format, shape: tuple[int, int, int], workspace: Path
) -> None:
    model = LitClassifier(variants.get("SELU")(depth=2, width=8))
    model.build(["ant", "bee"], Scale.fit("standardize", torch.randint(256, (50, *shape), dtype=torch.uint8)))
    export_network(model, form, Path("best").with_suffix(exporting.SUFFIXES[form]))
    picture = Image.effect_noise((70, 50), 90).convert("RGB")
    picture.save("picture.png")
    reading, *examples = BLOCKS
    example = next(block for block in examples if f'"best{exporting.SUFFIXES[form]}"' in block)
    names: dict[str, Any] = {}
    exec(reading + example, names)  # noqa: S102 - our own page
    expected = read_pictures(Path("picture.png"), shape).images
    assert names["image"].dtype == np.uint8
    assert names["image"].shape == (1, *shape)
    assert (torch.tensor(names["image"]).int() - expected.int()).abs().max() <= 1  # grey is rounded otherwise
    found = torch.as_tensor(names["logits"]).detach()
    torch.testing.assert_close(found, model.eval()(torch.tensor(names["image"])).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("AlphaDropout", "torch"),
        *(pytest.param(n, f, marks=pytest.mark.slow) for n in variants.available() for f in ("onnx", "torch")),
    ],
)
def test_every_variant_can_be_exported(name: str, form: exporting.Format, tmp_path: Path) -> None:
    path = tmp_path / "network"
    assert export_network(classifier(name), form, path) < 0.1
    assert [file.name for file in tmp_path.iterdir()] == ["network"]


def test_a_file_that_gives_other_logits_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(network: nn.Module, path: Path, images: Tensor) -> Tensor:
        return network(images) + 1

    monkeypatch.setitem(exporting._FORMATS, "torch", (exporting._write_torch, wrong))
    with pytest.raises(UserError, match="gives other logits"):
        export_network(classifier("ELU"), "torch", tmp_path / "network.pt2")
    assert not list(tmp_path.iterdir())


class Unexportable(variants.Variant):
    """Python decides by the values, which no exporter can follow."""

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        class Asks(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x.flatten(1)) * (2 if x.sum().item() > 0 else 1)

        return Asks(3072, num_classes)


def test_a_network_that_can_not_be_exported_is_one_line(tmp_path: Path) -> None:
    model = LitClassifier(Unexportable())
    model.build(["ant", "bee"], Scale.empty((3, 32, 32)))
    with pytest.raises(UserError, match=r"^This network can't be exported to torch: .*Try another --format\.$"):
        export_network(model, "torch", tmp_path / "network.pt2")
    assert export_network(model, "state_dict", tmp_path / "network.pt") == 0


def test_mistakes_are_one_line(lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for arguments, message in (
        ([], "give --ckpt_path FILE"),
        (["--ckpt_path", "no.ckpt"], "no.ckpt"),
        (["--ckpt_path", __file__, "--format", "onnx"], "pip install 'lit-cifar[onnx]'"),
        (["--ckpt_path", __file__, "--format", "tf"], "onnx"),
        (["--ckpt_path", __file__, "--output", "net.onnx"], "pip install 'lit-cifar[onnx]'"),
        (["--ckpt_path", __file__, "--output", "net.onnx", "--format", "torch"], "the file's suffix says its format"),
        (["--ckpt_path", __file__, "--output", "net"], "Use .onnx (onnx), .pt2 (torch), .pt (state_dict)"),
        (["--ckpt_path", __file__, "--output", "."], "is a folder: give the name of a file"),
    ):
        code, _, err = lit_cifar("export", *arguments)
        assert code == 1
        assert message in err
        assert err.count("\n") == 1


def test_weights_that_are_put_into_another_variant_are_named(lit_cifar: Run, fitted: Path, workspace: Path) -> None:
    best = fitted / "checkpoints/best.ckpt"
    code, _, err = lit_cifar("export", "--ckpt_path", best, "--variant", "ELU", "--output", "elu.pt")
    assert code == 0, err
    assert "The checkpoint's variant is variants.selu.SELU; its weights are put into ELU." in err
    assert "weights are put into" not in lit_cifar("export", "--ckpt_path", best, "--output", "selu.pt")[2]

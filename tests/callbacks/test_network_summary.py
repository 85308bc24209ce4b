"""The table of layers that `fit` prints."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

import variants
from lit_cifar.callbacks.network_summary import data_summary, layers, print_summary
from lit_cifar.data.datamodule import CIFAR10DataModule


def network(body: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(scale=nn.Identity(), body=body))


class Own(nn.Module):
    """A network with a parameter of its own beside its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3, 2)
        self.token = nn.Parameter(torch.zeros(5))


def test_every_layer_has_a_row_with_its_parts_and_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    body = variants.get("BatchNorm")(depth=2, width=16).build((3, 32, 32), 10)
    print_summary(network(body))
    out = capsys.readouterr().out
    rows = [line.strip("│┃ ").split() for line in out.splitlines() if "body." in line]
    assert [row[0] for row in rows][-3:] == ["body.hidden_01", "body.hidden_02", "body.output"]
    assert "Linear" in out
    assert "BatchNorm1d" in out
    assert "170" in rows[-1][-1]
    assert out.splitlines()[-1] == f"Parameters: {sum(p.numel() for p in body.parameters()):,}"
    for word in ("metric", "FLOP", "mode"):
        assert word not in out


@pytest.mark.parametrize("body", [Own(), nn.Linear(3, 2), nn.Sequential(nn.Sequential(nn.Sequential(Own())))])
def test_the_rows_together_have_all_parameters(body: nn.Module) -> None:
    whole = network(body)
    rows = list(layers(whole))
    counted = sum(sum(p.numel() for p in layer.parameters(recurse=not own)) for _, layer, own in rows)
    assert counted == sum(p.numel() for p in whole.parameters())
    assert all(name.count(".") < 2 for name, _, _ in rows)


def test_frozen_parameters_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    body = Own()
    body.dense.requires_grad_(False)
    print_summary(network(body))
    assert "Parameters: 13, of which 5 are trained" in capsys.readouterr().out


def test_the_numbers_of_images_and_the_classes_are_said(pictures: Path) -> None:
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30)
    data.setup("fit")
    assert data_summary(data) == (
        f"Data: pictures in {pictures.as_posix()}: 90 training and 30 validation images, "
        f"{len(data.class_names)} classes ({', '.join(data.class_names)})"
    )

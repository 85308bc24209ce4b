"""Pretrained weights are read when a training begins, and never for a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lit_cifar.training import checkpoints
from variants import registry

Run = Callable[..., tuple[int, str, str]]
SOURCE = """
from pathlib import Path

import torch
from variants import ELU


class Pretrained(ELU):
    '''ELU from pretrained weights.'''

    def __init__(self, *, weights: Path = Path("weights.pt"), depth: int = 1, width: int = 4) -> None:
        super().__init__(depth=depth, width=width)
        self.weights = weights

    def load_pretrained(self, network):
        network.hidden_01.load_state_dict(torch.load(self.weights, weights_only=True))
"""


@pytest.fixture(autouse=True)
def own_module(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_classes", "_origins", "_broken"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.setattr(sys, "path", [str(workspace), *sys.path])
    monkeypatch.delitem(sys.modules, "pretrained_elu", raising=False)
    Path("pretrained_elu.py").write_text(SOURCE)


def test_a_checkpoint_never_needs_the_file_again(lit_cifar: Run, on_pictures: list[object], no_figures: None) -> None:
    torch.save({"0.weight": torch.full((4, 3072), 0.125), "0.bias": torch.zeros(4)}, "weights.pt")
    named = ["--model.variant", "pretrained_elu.Pretrained", "--model.learning_rate", 1e-9]
    code, _, err = lit_cifar("fit", *named, "--trainer.max_epochs", 1, *on_pictures)
    assert code == 0, err
    folder = Path("logs/fit/Pretrained/version_0/checkpoints")
    weight = checkpoints.read(folder / "best.ckpt")["state_dict"]["network.body.hidden_01.0.weight"]
    torch.testing.assert_close(weight, torch.full((4, 3072), 0.125), atol=1e-5, rtol=0)
    Path("weights.pt").unlink()
    for command in (
        ["test", "--ckpt_path", folder / "best.ckpt", *on_pictures],
        ["fit", "--ckpt_path", folder / "last.ckpt", "--trainer.max_epochs", 2],
    ):
        code, _, err = lit_cifar(*command)
        assert code == 0, err

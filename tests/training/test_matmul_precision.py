"""How precisely float32 matrices are multiplied, and what TensorFloat32 changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning import Trainer

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.errors import UserError


@pytest.fixture(autouse=True)
def torchs_own() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def chosen(pictures: Path, **options: str) -> str:
    """The precision after the setup of a training."""
    model = LitClassifier(variants.get("ELU")(depth=1, width=4), **options)  # type: ignore[arg-type]
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)
    trainer = Trainer(
        fast_dev_run=True, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(model, datamodule=data)
    return torch.get_float32_matmul_precision()


def test_it_is_the_highest_unless_told_otherwise(pictures: Path) -> None:
    assert chosen(pictures, matmul_precision="high") == "high"
    assert chosen(pictures) == "highest"


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UserError, match="matmul_precision='fast' is unknown: use highest, high, medium"):
        LitClassifier(variants.get("ELU")(), matmul_precision="fast")  # type: ignore[arg-type]


@pytest.mark.gpu
def test_tensorfloat32_multiplies_with_ten_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=generator, dtype=torch.float64) for _ in range(2))
    errors = {}
    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        product = (a.float().cuda() @ b.float().cuda()).cpu().double()
        errors[precision] = ((product - a @ b).norm() / (a @ b).norm()).item()
    assert errors["highest"] < 1e-6
    assert 1e-5 < errors["high"] < 2e-3

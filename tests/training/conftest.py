"""The options of a short run, and such a run that was never stopped, to compare others with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lit_cifar.__main__ import main
from tests.training.stopped_runs import RUN


@pytest.fixture(scope="session")
def uninterrupted(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a run."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        torch.set_num_threads(1)
        assert main(["fit", *options]) == 0
    return folder / RUN


@pytest.fixture(scope="session")
def options(request: pytest.FixtureRequest, pictures: Path) -> list[str]:
    """Four epochs with everything random that there is; the parameter is --model.compile."""
    network = "--model.variant AlphaDropout --model.variant.depth 2 --model.variant.width 16"
    zeros = "--model.sparsity 0.5 --model.l1 1e-3 --model.max_norm 1"
    training = "--model.scheduler one_cycle --trainer.max_epochs 4 --early_stopping.patience 3"
    data = f"--data.source folder --data.data_dir {pictures} --data.val_size 30 --data.batch_size 16"
    augmentation = "--data.flip true --data.crop_padding 2 --data.cutout 8 --data.mixup 0.2"
    quiet = "--trainer.accelerator cpu --trainer.enable_progress_bar false --trainer.enable_model_summary false"
    compiled = f"--model.compile {getattr(request, 'param', 'false')}"
    return " ".join([network, zeros, training, data, augmentation, quiet, compiled]).split()

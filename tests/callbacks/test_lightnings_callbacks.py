"""Lightning's own callbacks on the command line: each works and can be continued, or is refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import callbacks

from lit_cifar.training.module import LitClassifier

pytestmark = [
    pytest.mark.usefixtures("no_figures"),
    # Lightning's remark that our `optimizer_zero_grad` isn't called for each batch, which is what is wanted.
    pytest.mark.filterwarnings("ignore:When using .Trainer.accumulate_grad_batches"),
    pytest.mark.filterwarnings("ignore:When using the .ThroughputMonitor"),
]
Run = Callable[..., tuple[int, str, str]]
WORKING: dict[str, dict[str, Any]] = {
    "EMAWeightAveraging": {"decay": 0.9},
    "WeightAveraging": {"device": "cpu"},
    "StochasticWeightAveraging": {"swa_lrs": 1e-3, "swa_epoch_start": 1},
    "ModelPruning": {"pruning_fn": "l1_unstructured", "amount": 0.3},
    "DeviceStatsMonitor": {"cpu_stats": True},
    "RichProgressBar": {},
    "TQDMProgressBar": {"refresh_rate": 5},
    "GradientAccumulationScheduler": {"scheduling": {0: 2, 1: 1}},
    "Timer": {"duration": "00:01:00:00"},
    "LearningRateMonitor": {},
    "ModelSummary": {"max_depth": 2},
    "RichModelSummary": {},
    "LambdaCallback": {},
    "ThroughputMonitor": {"batch_size_fn": "builtins.len"},
}
REFUSED = {
    "LearningRateFinder": "lit-cifar lr-find",
    "BatchSizeFinder": "--data.batch_size",
    "BackboneFinetuning": "no `backbone`",
    "OnExceptionCheckpoint --trainer.callbacks.dirpath .": "--ckpt_path last",
}
NOT_FOR_FIT = {"BasePredictionWriter", "BaseFinetuning", "Callback", "Checkpoint", "ProgressBar", "SpikeDetection"}
DEFAULTS = {"EarlyStopping", "ModelCheckpoint"}
"""The callbacks of Lightning that `fit` always has."""


@pytest.fixture
def fit(lit_cifar: Run, on_pictures: list[object], workspace: Path) -> Callable[..., tuple[int, str, str]]:
    """Run `fit` on a small network."""
    small = ["--model.variant", "BatchNorm", "--model.variant.depth", 2, "--model.variant.width", 16]

    def run(*arguments: object, new: bool = True) -> tuple[int, str, str]:
        return lit_cifar("fit", *(small + on_pictures[:-2] if new else ()), *arguments)

    return run


def with_callback(name: str, **init_args: Any) -> Path:
    """A configuration with one more callback."""
    path = Path("callback.yaml")
    content: dict[str, Any] = {"callbacks": [{"class_path": name, "init_args": init_args}]}
    if not name.endswith("ProgressBar"):
        content["enable_progress_bar"] = False
    path.write_text(yaml.safe_dump({"trainer": content}))
    return path


def test_every_callback_of_lightning_is_tested() -> None:
    known = {*WORKING, *(name.partition(" ")[0] for name in REFUSED), *NOT_FOR_FIT, *DEFAULTS}
    assert set(callbacks.__all__) <= known


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKING)
def test_a_callback_works_and_its_run_can_be_tested_and_continued(
    name: str, fit: Run, lit_cifar: Run, on_pictures: list[object]
) -> None:
    code, _, err = fit("--config", with_callback(name, **WORKING[name]), "--trainer.max_epochs", 2)
    assert code == 0, err
    code, _, err = lit_cifar("test", "--ckpt_path", "logs/fit/BatchNorm/version_0/checkpoints/best.ckpt", *on_pictures)
    assert code == 0, err
    code, _, err = fit("--ckpt_path", "last", "--trainer.max_epochs", 3, new=False)
    assert code == 0, err


@pytest.mark.parametrize("name", REFUSED)
def test_a_callback_that_can_not_work_is_refused_in_one_line(name: str, fit: Run, workspace: Path) -> None:
    code, _, err = fit("--trainer.callbacks", *name.split())
    assert code != 0
    assert REFUSED[name] in err
    assert "Traceback" not in err
    assert not any(workspace.rglob("*.ckpt"))


def weights_of(path: str) -> dict[str, torch.Tensor]:
    return torch.load(f"logs/fit/BatchNorm/{path}", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_an_exponential_average_is_in_the_checkpoint_and_goes_on_after_a_stop(fit: Run) -> None:
    config = with_callback("EMAWeightAveraging", decay=0.9)
    assert fit("--config", config, "--trainer.max_epochs", 3)[0] == 0
    assert fit("--config", config, "--trainer.max_epochs", 2)[0] == 0
    assert fit("--ckpt_path", "logs/fit/BatchNorm/version_1/checkpoints/last.ckpt", "--trainer.max_epochs", 3)[0] == 0
    one, other = (torch.load(f"logs/fit/BatchNorm/version_{n}/checkpoints/last.ckpt") for n in (0, 1))
    for key in ("state_dict", "current_model_state"):
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)
    name = "network.body.hidden_01.0.weight"
    assert name in one["state_dict"], list(one["state_dict"])
    assert not torch.equal(one["state_dict"][name], one["current_model_state"][name])


@pytest.mark.slow
def test_averaged_weights_of_the_last_epochs_are_kept_and_can_be_tested(
    fit: Run, lit_cifar: Run, on_pictures: list[object]
) -> None:
    config = with_callback("StochasticWeightAveraging", **WORKING["StochasticWeightAveraging"])
    code, out, _ = fit("--config", config, "--trainer.max_epochs", 3)
    assert code == 0
    assert "averaged.ckpt" in out
    averaged, last = (weights_of(f"version_0/checkpoints/{name}.ckpt") for name in ("averaged", "last"))
    name = next(name for name in averaged if name.endswith("weight"))
    assert not torch.equal(averaged[name], weights_of("version_0/checkpoints/best.ckpt")[name])
    averaged_path = "logs/fit/BatchNorm/version_0/checkpoints/averaged.ckpt"
    assert lit_cifar("test", "--ckpt_path", averaged_path, *on_pictures)[0] == 0
    code, out, _ = fit("--config", config, "--trainer.max_epochs", 30, "--early_stopping.patience", 1)
    assert code == 0
    assert "no averaged weights" in out
    assert last.keys() == averaged.keys()


def test_pruned_weights_stay_zero_in_the_checkpoint(fit: Run) -> None:
    config = with_callback("ModelPruning", **WORKING["ModelPruning"])
    assert fit("--config", config, "--trainer.max_epochs", 2)[0] == 0
    model = LitClassifier.load_from_checkpoint("logs/fit/BatchNorm/version_0/checkpoints/last.ckpt")
    weights = torch.cat([p.detach().flatten() for p in model.parameters() if p.dim() > 1])
    assert (weights == 0).float().mean() == pytest.approx(1 - 0.7**2, abs=0.02)  # 30 % of what is left, twice

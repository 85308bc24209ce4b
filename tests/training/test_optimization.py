"""Optimizers and schedulers on the command line: each trains, or says in one line why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from lightning import Callback, LightningModule, Trainer, seed_everything

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.study.run_parts import build_model
from lit_cifar.training.module import LitClassifier
from lit_cifar.training.muon import MuonWithAdamW
from lit_cifar.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("no_figures")
Run = Callable[..., tuple[int, str, str]]
SMALL = ("--model.variant", "ELU", "--model.variant.depth", 1, "--model.variant.width", 8, "--trainer.max_epochs", 5)


@pytest.mark.parametrize(
    ("spelling", "monitor"),
    [
        (["--model.scheduler", "ReduceLROnPlateau"], None),
        pytest.param(["--model.scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau"], None, marks=pytest.mark.slow),
        pytest.param(
            ["--model.scheduler", "lightning.pytorch.cli.ReduceLROnPlateau"], "val/accuracy", marks=pytest.mark.slow
        ),
    ],
)
def test_the_learning_rate_falls_on_a_plateau(
    spelling: list[str], monitor: str | None, lit_cifar: Run, on_pictures: list[object], workspace: Path
) -> None:
    monitored = ["--model.scheduler.monitor", monitor] if monitor else []
    never_better = ["--model.scheduler.threshold", 10, "--model.scheduler.patience", 0, "--model.scheduler.factor", 0.1]
    never_better += ["--model.scheduler.mode", "max", "--model.learning_rate", 1e-4]
    code, _, err = lit_cifar("fit", *SMALL, *on_pictures, *spelling, *monitored, *never_better)
    assert code == 0, err
    rates = pd.read_csv("logs/fit/ELU/version_0/metrics.csv")["train/learning_rate"].dropna()
    assert rates.tolist() == pytest.approx([1e-4, 1e-4, 1e-5, 1e-6, 1e-7])
    config = yaml.safe_load(Path("logs/fit/ELU/version_0/config.yaml").read_text())
    assert config["model"]["scheduler"]["class_path"].endswith("ReduceLROnPlateau")


@pytest.mark.parametrize(("optimizer", "message"), [("Muon", "Use MuonWithAdamW"), ("SparseAdam", "sparse gradients")])
def test_an_optimizer_that_can_not_train_the_network_is_one_line(
    optimizer: str, message: str, lit_cifar: Run, on_pictures: list[object], workspace: Path
) -> None:
    code, _, err = lit_cifar("fit", *SMALL, *on_pictures, "--model.optimizer", optimizer)
    assert code == 1
    assert message in err
    assert "Traceback" not in err


class ScheduleFree(torch.optim.SGD):
    """An optimizer with two sets of weights, as the package schedulefree has them."""

    def eval(self) -> None:
        raise AssertionError("never called")


def test_an_optimizer_with_weights_of_its_own_for_validation_is_refused(pictures: Path) -> None:
    with pytest.raises(UserError, match="ScheduleFree must be switched to other weights"):
        train(pictures, optimizer=f"{__name__}.ScheduleFree")


class Rates(Callback):
    """The learning rate of each step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.found.append(trainer.optimizers[0].param_groups[0]["lr"])


def train(pictures: Path, epochs: int = 2, **model: Any) -> tuple[LitClassifier, list[float]]:
    """A few epochs of six steps; gives the model and the learning rate of each step."""
    seed_everything(0, verbose=False)
    built = build_model(
        {
            "variant": {"class_path": "BatchNorm", "init_args": {"depth": 1, "width": 8}},
            "learning_rate": 0.01,
            "compile": False,
            **model,
        }
    )
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=15)
    rates = Rates()
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, callbacks=[rates],
    )  # fmt: skip
    trainer.fit(built, datamodule=data)
    return built, rates.found


OPTIMIZERS = {
    "SGD": {},
    "momentum": {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}},
    "Nesterov": {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9, "nesterov": True}},
    "Adagrad": {}, "Adadelta": {}, "RMSprop": {}, "Adam": {}, "Adamax": {}, "NAdam": {}, "RAdam": {}, "AdamW": {},
    "MuonWithAdamW": {"class_path": "MuonWithAdamW", "init_args": {"momentum": 0.9}},
}  # fmt: skip


@pytest.fixture(scope="module")
def untrained_loss(pictures: Path) -> float:
    model, _ = train(pictures, epochs=1, learning_rate=1e-12)
    return model.trainer.callback_metrics["train/loss"].item()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_of_the_chapter_lowers_the_loss(name: str, untrained_loss: float, pictures: Path) -> None:
    model, _ = train(pictures, epochs=4, optimizer=OPTIMIZERS[name] or f"torch.optim.{name}")
    assert type(model.trainer.optimizers[0]).__name__ in (name, "SGD")
    assert model.trainer.callback_metrics["train/loss"] < untrained_loss


STEPS = 6
RATE = 0.01
SCHEDULES: dict[str, tuple[dict[str, Any] | str | None, list[float]]] = {
    "constant": (None, [1, 1, 1, 1]),
    "power": ({"PowerLR": {"epochs": 2, "power": 2}}, [1, (2 / 3) ** 2, (1 / 2) ** 2, (2 / 5) ** 2]),
    "polynomial": ({"PolynomialLR": {"total_iters": 4, "power": 2}}, [1, (3 / 4) ** 2, (2 / 4) ** 2, (1 / 4) ** 2]),
    "exponential": ({"ExponentialLR": {"gamma": 0.5}}, [1, 1 / 2, 1 / 4, 1 / 8]),
    "steps": ({"StepLR": {"step_size": 2, "gamma": 0.1}}, [1, 1, 0.1, 0.1]),
    "cosine": ({"CosineAnnealingLR": {"T_max": 4}}, [1, (1 + 0.5**0.5) / 2, 1 / 2, (1 - 0.5**0.5) / 2]),
    "linear": ({"LinearLR": {"start_factor": 0.1, "total_iters": 3}}, [0.1, 0.4, 0.7, 1]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_of_the_chapter_gives_each_epoch_its_learning_rate(name: str, pictures: Path) -> None:
    given, expected = SCHEDULES[name]
    scheduler: Any = given
    if isinstance(given, dict):
        [(cls, options)] = given.items()
        module = "lit_cifar.training.schedules" if cls == "PowerLR" else "torch.optim.lr_scheduler"
        scheduler = {"class_path": f"{module}.{cls}", "init_args": options}
    _, rates = train(pictures, epochs=4, optimizer="torch.optim.SGD", scheduler=scheduler)
    assert rates == pytest.approx([RATE * share for share in expected for _ in range(STEPS)])


PLATEAU = {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau", "init_args": {"patience": 50}}
HALVING = {"class_path": "torch.optim.lr_scheduler.ExponentialLR", "init_args": {"gamma": 0.5}}


@pytest.mark.parametrize(
    ("scheduler", "shares"),
    [(None, [1, 1, 1]), (HALVING, [1, 1 / 2, 1 / 4]), (PLATEAU, [1, 1, 1])],
    ids=["constant", "exponential", "plateau"],
)
def test_a_warm_up_rises_with_each_step_to_what_the_scheduler_says(
    scheduler: Any, shares: list[float], pictures: Path
) -> None:
    _, rates = train(pictures, epochs=3, optimizer="torch.optim.SGD", scheduler=scheduler, warmup_epochs=2)
    rising = [min(1, (step + 1) / (2 * STEPS)) for step in range(3 * STEPS)]
    assert rates == pytest.approx([RATE * shares[step // STEPS] * rising[step] for step in range(3 * STEPS)])


def test_a_warm_up_of_schedules_that_have_their_own_is_refused(pictures: Path) -> None:
    with pytest.raises(UserError, match="warmup_epochs=1 has no effect on OneCycleLR"):
        train(pictures, scheduler="one_cycle", warmup_epochs=1)
    with pytest.raises(UserError, match="warmup_epochs=-1 is negative"):
        build_model({"variant": "ELU", "warmup_epochs": -1})


@pytest.mark.parametrize("options", [{"epochs": 0}, {"power": -1}])
def test_power_scheduling_refuses_a_rate_that_would_not_fall(options: dict[str, float], pictures: Path) -> None:
    scheduler = {"class_path": "lit_cifar.training.schedules.PowerLR", "init_args": options}
    with pytest.raises(UserError, match="both must be above 0"):
        train(pictures, scheduler=scheduler)


@pytest.mark.parametrize("optimizer", ["torch.optim.Adagrad", "lit_cifar.training.muon.MuonWithAdamW"])
def test_one_cycle_works_without_a_momentum_to_cycle(optimizer: str, pictures: Path) -> None:
    _, rates = train(pictures, epochs=4, optimizer=optimizer, scheduler="one_cycle")
    assert max(rates) == pytest.approx(RATE, rel=0.02)


def test_one_cycle_rises_to_the_learning_rate_and_ends_near_zero(pictures: Path) -> None:
    _, rates = train(pictures, epochs=4, optimizer="torch.optim.SGD", scheduler="one_cycle")
    peak = rates.index(max(rates))
    assert rates[0] == pytest.approx(RATE / 25)
    assert max(rates) == pytest.approx(RATE, rel=0.02)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < RATE / 1000


def test_muon_steps_matrices_and_adamw_the_rest_as_they_do_alone() -> None:
    torch.manual_seed(0)
    start, gradients = [torch.randn(4, 3), torch.randn(4)], [torch.randn(4, 3), torch.randn(4)]

    def stepped(make: Callable[[list[Any]], torch.optim.Optimizer], *chosen: int) -> list[torch.Tensor]:
        parameters = [torch.nn.Parameter(start[index].clone()) for index in chosen]
        optimizer = make(parameters)
        for step in range(4):
            for p, index in zip(parameters, chosen, strict=True):
                p.grad = gradients[index].clone()
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            optimizer.step()
            if step == 1:  # as a run that is continued
                state, optimizer = optimizer.state_dict(), make(parameters)
                optimizer.load_state_dict(state)
        return [p.detach() for p in parameters]

    matrix, bias = stepped(lambda given: MuonWithAdamW(given, 0.1), 0, 1)
    muon = {"weight_decay": 0.01, "adjust_lr_fn": "match_rms_adamw"}
    torch.testing.assert_close([matrix], stepped(lambda given: torch.optim.Muon(given, 0.1, **muon), 0))
    [constant] = stepped(lambda given: _at(torch.optim.AdamW(given, 0.1)), 1)
    torch.testing.assert_close(bias, constant)


def _at(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """With a first group that nothing is in, whose learning rate changes without effect."""
    optimizer.param_groups.insert(0, {**optimizer.param_groups[0], "params": []})
    return optimizer

"""What a run of a study can change beside its model: data, callbacks, the Trainer's options, training images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Timer

from lit_cifar.study import run as run_module
from lit_cifar.study.engines.base import run_all, run_here
from lit_cifar.study.plan import PlannedRun, plan_runs, plan_searches
from lit_cifar.study.run_parts import build_callbacks, check_run, trainer_options
from lit_cifar.study.schema import Protocol, Run
from lit_cifar.study.study_file import parse_study
from lit_cifar.utils.errors import UserError

TIMER = {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {"duration": "00:01:00:00"}}
STUDY = """
title: Clipping
seeds: 1
protocol: {max_epochs: 1, batch_size: 8, val_size: 30, train_size: 30}
runs:
  plain: &plain
    model: {variant: {class_path: ELU, init_args: {depth: 1, width: 4}}}
  all:
    <<: *plain
    data: {flip: true, crop_padding: 2}
    callbacks:
      - {class_path: lightning.pytorch.callbacks.Timer, init_args: {duration: "00:01:00:00"}}
    trainer: {gradient_clip_val: 0.5, gradient_clip_algorithm: norm}
    batch_size: 15
    train_size: 60
"""


def planned(pictures: Path) -> dict[str, PlannedRun]:
    study = parse_study(STUDY, source="s.yaml", name="s")
    for run in study.runs.values():
        check_run(run)
    return {run.name: run for run in plan_runs(study, {"source": "folder", "data_dir": str(pictures)})}


def test_a_run_is_trained_as_it_says(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainers = []

    class Recorded(run_module.Trainer):
        def __init__(self, **options: object) -> None:
            super().__init__(**options)
            trainers.append(self)

    monkeypatch.setattr(run_module, "Trainer", Recorded)
    rows = [row for _, row, _ in run_all(list(planned(pictures).values()), tmp_path, run_here, lambda *_: None)]
    assert [row["reason"] for row in rows] == ["", ""]
    plain, everything = trainers
    assert [len(trainer.datamodule.train_images) for trainer in trainers] == [30, 60]
    assert [trainer.num_training_batches for trainer in trainers] == [4, 4]
    assert [trainer.gradient_clip_val for trainer in trainers] == [None, 0.5]
    assert [trainer.datamodule.flip for trainer in trainers] == [False, True]
    assert not any(isinstance(callback, Timer) for callback in plain.callbacks)
    assert any(isinstance(callback, Timer) for callback in everything.callbacks)


def test_only_what_a_run_changes_is_in_its_fingerprint(pictures: Path) -> None:
    runs = planned(pictures)
    assert {"callbacks", "trainer"} <= runs["all"].to_dict().keys()
    assert not {"callbacks", "trainer"} & runs["plain"].to_dict().keys()
    assert runs["all"].data["flip"] is True
    assert "flip" not in runs["plain"].data


def test_cifar10s_tenth_is_what_it_was() -> None:
    def fingerprint(source: str, **protocol: object) -> str:
        data = {"source": source}
        return PlannedRun(
            name="a", seed=0, model={"variant": "ELU"}, data=data, protocol=Protocol(**protocol)
        ).fingerprint

    assert fingerprint("cifar10") == fingerprint("cifar10", val_size=5000)
    assert fingerprint("folder") != fingerprint("folder", val_size=5000)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"trainer": {"gradient_clip": 1}}, "gradient_clip"),
        ({"trainer": {"max_epochs": 3}}, "max_epochs"),
        ({"trainer": {"gradient_clip_val": "much"}}, "gradient_clip_val"),
        ({"data": {"mirror": True}}, "mirror"),
        ({"data": {"source": "synthetic"}}, "source"),
        ({"data": {"crop_padding": "two"}}, "crop_padding"),
        ({"callbacks": [{"class_path": "torch.nn.Linear"}]}, "callbacks"),
        ({"callbacks": [{"class_path": "nowhere.Nothing"}]}, "nowhere"),
    ],
)
def test_mistakes_are_found_before_any_run(parts: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_run(Run(model={"variant": "ELU"}, **parts))


def test_callbacks_and_options_are_made() -> None:
    [timer] = build_callbacks([TIMER])
    assert timer.time_remaining() == 3600
    assert trainer_options({"gradient_clip_val": 1}) == {"gradient_clip_val": 1, "devices": 1}
    assert trainer_options({}) == {"devices": 1}


@pytest.mark.slow
def test_a_learning_rate_is_searched_with_the_run_s_callbacks_and_options(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers: list[Trainer] = []
    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda self, *given, **more: trainers.append(self) or fit(self, *given, **more))
    study = parse_study(SEARCHED, source="s.yaml", name="s")
    [search] = plan_searches(study, {"source": "folder", "data_dir": str(pictures)})
    [(_, row, _)] = run_all([search], tmp_path, run_here, lambda *_: None)
    assert row["status"] == "ok", row["reason"]
    assert [trainer.gradient_clip_val for trainer in trainers] == [0.5] * len(trainers)
    timers = [it for trainer in trainers for it in trainer.callbacks if isinstance(it, Timer)]
    assert len(timers) == len(set(timers)) == len([it for it in trainers if it.max_epochs == 3]) >= 9


SEARCHED = """
title: Searched
protocol: {learning_rate: search, batch_size: 16, val_size: 30}
runs:
  clipped:
    model: {variant: {class_path: ELU, init_args: {depth: 1, width: 8}}}
    callbacks: [{class_path: lightning.pytorch.callbacks.Timer, init_args: {duration: "00:01:00:00"}}]
    trainer: {gradient_clip_val: 0.5}
"""

AVERAGING = {
    "EMA": {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.8}},
    "SWA": {"class_path": "lit_cifar.callbacks.EpochWeightAveraging", "init_args": {"start_epoch": 1}},
}


@pytest.mark.parametrize("name", AVERAGING)
def test_the_tested_weights_of_a_run_are_the_averaged_ones(name: str, pictures: Path, tmp_path: Path) -> None:
    ends: list[dict[str, torch.Tensor]] = []
    data = {"source": "folder", "data_dir": str(pictures)}
    study = parse_study(AVERAGED % AVERAGING[name], source="s.yaml", name="s")
    plain, averaged = plan_runs(study, data)
    rows = {}
    for run in (plain, averaged):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_module.LitClassifier, "on_train_epoch_start", lambda self: ends.append(weights(self)))
            [(_, rows[run.name], _)] = run_all([run], tmp_path, run_here, lambda *_: None)
    assert [row["reason"] for row in rows.values()] == ["", ""]
    assert rows["averaged"]["test_nll"] != rows["plain"]["test_nll"]
    file = next((tmp_path / averaged.folder).rglob("best.ckpt"))
    content = torch.load(file, weights_only=True)
    assert content["epoch"] == 2
    current = content["current_model_state"]
    assert any(not torch.equal(content["state_dict"][key], value) for key, value in current.items())
    if name == "SWA":  # the mean of what epochs 1 and 2 ended with
        last_but_one = ends[-1]
        for key in last_but_one:
            torch.testing.assert_close(content["state_dict"][key], (last_but_one[key] + current[key]) / 2)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


AVERAGED = """
title: Averaging
seeds: 1
protocol: {max_epochs: 3, batch_size: 15, val_size: 30, learning_rate: 0.001}
runs:
  plain: &plain
    model: {variant: {class_path: BatchNorm, init_args: {depth: 1, width: 8}}, compile: false}
  averaged:
    <<: *plain
    callbacks: [%s]
"""


def test_lightnings_swa_is_refused_as_its_average_would_not_be_tested() -> None:
    with pytest.raises(UserError, match=r"use lit_cifar\.callbacks\.EpochWeightAveraging"):
        build_callbacks(
            [{"class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging", "init_args": {"swa_lrs": 0.1}}]
        )

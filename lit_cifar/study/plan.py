"""The runs of a study, as plain data that a worker can be given."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.study.schema import Protocol, Study

SEARCH_SEED = 1_000_000
"""The seed of every learning-rate search: it holds out other images than any run does."""

TENTH_OF_CIFAR10 = 5000

FIRST_SETTINGS = {
    "protocol": ("learning_rate", "batch_size", "val_size", "max_epochs", "patience", "mc_samples"),
    "data": ("source", "data_dir", "urls", "flip", "crop_padding", "corruption", "severity"),
}
"""The settings of version 0.1.0. Later ones are in a fingerprint only where they differ from their defaults, so that
runs of earlier versions stay finished."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,99}")
RESERVED_NAMES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}
"""Names that Windows keeps for devices, with any ending."""


Neighbour = Literal["half", "double"]
Kind = Literal["train", "search", "timing"] | Neighbour
RATE_FACTORS: Mapping[Neighbour, float] = {"half": 0.5, "double": 2.0}
"""The learning rates beside the chosen one at which an answer is checked."""

KINDS_OF_A_RUN: Sequence[Kind] = ("train", "timing", *RATE_FACTORS)
"""What is done at the learning rate of a run."""


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training: everything a worker needs, as plain data. Equal plans give equal results.

    Args:
        name: The run's name in the study.
        seed: The seed of the split, the first weights, the order of the images and dropout; the number of a round.
        model: Arguments of LitClassifier.
        data: Arguments of CIFAR10DataModule, without seed, batch and validation size.
        protocol: How it is trained and tested.
        callbacks: Callbacks of its own, each with `class_path` and `init_args`.
        trainer: Options of the Trainer of its own.
        kind: A training with its test, the same at half or double the learning rate, a search of the rate, or a
            round in which a run is timed alone.
        made_from: Digests of the images (`data`) and of the network's code (`code`). They are not part of the plan:
            a finished run that was made from other data or code is only repeated when the user asks for it.
    """

    name: str
    seed: int
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    protocol: Protocol
    callbacks: Sequence[Mapping[str, Any]] = ()
    trainer: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind = "train"
    made_from: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What people see."""
        if self.kind == "search":
            return f"{self.name}, learning rate"
        if self.kind == "timing":
            return f"{self.name}, timed alone, round {self.seed + 1}"
        return f"{self.name}, seed {self.seed}" + (f", {self.kind} rate" if self.kind in RATE_FACTORS else "")

    @property
    def folder(self) -> Path:
        """The run's folder, relative to the study's."""
        seed = f"seed_{self.seed}" + (f"_{self.kind}_rate" if self.kind in RATE_FACTORS else "")
        names = {"search": "lr_find", "timing": f"timing_{self.seed}"}
        return Path("runs") / folder_name(self.name) / names.get(self.kind, seed)

    @property
    def fingerprint(self) -> str:
        """Changes when anything about the plan changes."""
        plan = self.to_dict()
        plan["protocol"] = _without_later_defaults(plan["protocol"], "protocol", Protocol().model_dump())
        if plan["protocol"]["val_size"] is None and plan["data"].get("source") == "cifar10":
            plan["protocol"]["val_size"] = TENTH_OF_CIFAR10  # version 0.1.0's default for all data
        plan["data"] = _without_later_defaults(plan["data"], "data", _data_defaults())
        return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON has it."""
        unused = [name for name in ("callbacks", "trainer") if not getattr(self, name)]
        return {
            **{part.name: getattr(self, part.name) for part in fields(self) if part.name not in ("made_from", *unused)},
            "protocol": self.protocol.model_dump(),
        }


def plan_runs(
    study: Study, data: Mapping[str, Any], *, seeds: Iterable[int] | None = None, names: Iterable[str] | None = None
) -> list[PlannedRun]:
    """The runs of a study, seed by seed, so that a study that is cut short has every run for the seeds it finished.

    Args:
        study: The study.
        data: Arguments of CIFAR10DataModule, without seed, batch and validation size.
        seeds: Which seeds; by default as many as the study may have.
        names: Which of the study's runs; by default all.
    """
    wanted = set(study.runs if names is None else names)
    return [
        _planned(study, name, data, seed)
        for seed in (range(study.most_seeds) if seeds is None else seeds)
        for name in study.runs
        if name in wanted
    ]


def plan_searches(study: Study, data: Mapping[str, Any]) -> list[PlannedRun]:
    """A learning-rate search for each run that asks for one, with a seed that no run of the study has."""
    asking = [name for name in study.runs if study.run_protocol(name).learning_rate == "search"]
    return [replace(_planned(study, name, data, SEARCH_SEED), kind="search") for name in asking]


def _planned(study: Study, name: str, data: Mapping[str, Any], seed: int) -> PlannedRun:
    run = study.runs[name]
    return PlannedRun(
        name=name,
        seed=seed,
        model=run.model,
        data={**data, **run.data},
        protocol=study.run_protocol(name),
        callbacks=run.callbacks,
        trainer=run.trainer,
    )


def folder_name(name: str) -> str:
    """A name as the name of a folder that works on every system. Different names give different folders.

    Plain names stay as they are. Others are told apart by a digest after a `~`, which plain names don't have.
    """
    if PLAIN_NAME.fullmatch(name) and not name.endswith(".") and name.partition(".")[0].upper() not in RESERVED_NAMES:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9+-]', '_', name)[:60]}~{digest}"


def former_folder_name(name: str) -> str:
    """The folder that version 0.1.0 used for a name; several names could share one."""
    return "".join(character if character.isalnum() or character in "-.+" else "_" for character in name)


def _without_later_defaults(settings: Mapping[str, Any], section: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    first = FIRST_SETTINGS[section]
    return {key: value for key, value in settings.items() if key in first or value != defaults.get(key)}


def _data_defaults() -> dict[str, Any]:
    parameters = inspect.signature(CIFAR10DataModule).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}

"""Studies without a file: some variants, and some values of their arguments, each compared with the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import yaml
from pydantic import ValidationError

from lit_cifar.study.schema import Changes, Protocol, Question, Run, Study
from lit_cifar.study.study_file import first_problem
from lit_cifar.utils.errors import UserError

SECTIONS = ("model", "data", "trainer")


@dataclass(frozen=True)
class Sweep:
    """Values to try of one setting.

    Args:
        key: The setting, as in `model.variant.depth`, `model.l1`, `data.flip`, `trainer.gradient_clip_val` or
            `batch_size`.
        values: The values.
    """

    key: str
    values: Sequence[Any]

    @property
    def short(self) -> str:
        """The setting's own name."""
        return self.key.rpartition(".")[2]


def parse_sweep(text: str) -> Sweep:
    """A sweep from `model.variant.depth=5,10,20`.

    Raises:
        UserError: if it doesn't name a setting and at least one value, or names a value twice.
    """
    key, _, listed = text.partition("=")
    values = [_value(part.strip()) for part in listed.split(",") if part.strip()]
    section = key.partition(".")[0]
    known = key in Protocol.model_fields or (section in SECTIONS and key.count(".") == (2 if "variant" in key else 1))
    if not known or not values or len(set(map(repr, values))) < len(values):
        raise UserError(
            f"The sweep {text!r}: give a setting and different values, as in model.variant.depth=5,10,20. A setting "
            f"starts with model.variant., model., data. or trainer., or is one of {', '.join(Protocol.model_fields)}."
        )
    return Sweep(key, values)


def variants_study(names: Sequence[str], sweeps: Sequence[Sweep] = ()) -> Study:
    """A study of some variants, with all combinations of the swept values; each run is compared with the first.

    Args:
        names: Names or class paths of variants.
        sweeps: Settings to vary.

    Raises:
        UserError: If a value can't be, or a setting is swept twice.
    """
    keys = [sweep.key for sweep in sweeps]
    if twice := next((key for key in keys if keys.count(key) > 1), ""):
        raise UserError(f"{twice} is swept twice: give all of its values at once, as in {twice}=1,2,3.")
    runs = {}
    for name, *values in product(names, *(sweep.values for sweep in sweeps)):
        settings = list(zip(sweeps, values, strict=True))
        label = ", ".join([name, *(f"{sweep.short}={value}" for sweep, value in settings)])
        runs[label] = _run(name, {sweep.key: value for sweep, value in settings})
    parts = [*names, *("-".join([sweep.short, *map(str, sweep.values)]) for sweep in sweeps)]
    return compared_with_first(runs, name="-".join(parts), former_name="variants")


def compared_with_first(runs: Mapping[str, Run], *, name: str, former_name: str = "") -> Study:
    """A study that asks of each run whether it is better than the first."""
    first, *others = runs
    questions = [Question(ask=f"Is {run} better than {first}?", treatment=run, baseline=first) for run in others]
    return Study(
        name=name,
        former_name=former_name,
        title=f"{', '.join(runs)}: what each one buys",
        runs=dict(runs),
        questions=questions,
        quick=Changes(seeds=2, max_epochs=5),
    )


def _run(variant: str, settings: Mapping[str, Any]) -> Run:
    content: dict[str, Any] = {"model": {"variant": variant}}
    keywords = {}
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        if section == "model.variant":
            keywords[name] = value
        elif section and name not in Protocol.model_fields:
            content.setdefault(section, {})[name] = value
        else:
            content[name] = value
    if keywords:
        content["model"]["variant"] = {"class_path": variant, "init_args": keywords}
    try:
        return Run.model_validate(content)
    except ValidationError as error:
        (setting, *_), problem = first_problem(error)
        raise UserError(f"The sweep of {setting}: {problem}.") from error


def _value(text: str) -> Any:
    """A number, a truth value or a text, as the command line reads it: `1e-3` is a number."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text

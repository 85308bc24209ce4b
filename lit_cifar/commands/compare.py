"""`lit-cifar compare`: run a study, or some variants side by side, and report what differs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeInt, PositiveFloat
from pydantic import ValidationError
from rich.console import Console

import variants
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.study.changing import change_all_runs
from lit_cifar.study.engines.base import Engine, run_here
from lit_cifar.study.engines.process_pool import run_in_pool
from lit_cifar.study.engines.ray import check_address, run_on_cluster
from lit_cifar.study.engines.replicas import default_replicas, run_in_stacks
from lit_cifar.study.folders import default_folder
from lit_cifar.study.runner import check_runs, conduct
from lit_cifar.study.schema import Changes, Study
from lit_cifar.study.shipped import shipped_studies
from lit_cifar.study.study_data import open_data
from lit_cifar.study.study_file import first_problem, load_study
from lit_cifar.study.variants_study import parse_sweep, variants_study
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import check_writable
from lit_cifar.utils.machine import default_workers
from lit_cifar.utils.parser import OneLineErrorParser

CHANGES = {
    "seeds": "seeds",
    "max_seeds": "max_seeds",
    "sensitivity": "sensitivity",
    "learning_rate": "lr",
    "max_epochs": "max_epochs",
    "patience": "patience",
    "batch_size": "data.batch_size",
    "val_size": "data.val_size",
    "train_size": "data.train_size",
}
"""Settings of a study and the options that change them for all runs."""


class SomeRunsFailedError(UserError):
    """A study came to its report, but some of its runs have failed."""

    exit_code = 3


def compare(arguments: Sequence[str]) -> None:
    """Run a study and print where its report is.

    Raises:
        UserError: if the study can't be run, or all of its runs failed.
        SomeRunsFailedError: if some of its runs failed.
    """
    given = _parser().parse_args(list(arguments))
    data_arguments = given.data.clone().as_dict()
    study = change_all_runs(_study(given), _changes(given, data_arguments))
    check_runs(study)
    engine = _engine(given)
    if given.output:
        check_writable(Path(given.output) / "report.html", "The study's results")
    data = open_data(data_arguments)
    result = conduct(
        study,
        data,
        Path(given.output) if given.output else default_folder(study, data),
        engine=engine,
        command=shlex.join(["lit-cifar", "compare", *arguments]),
        console=Console(),
        minutes=given.minutes,
        seeds_at_once=max(1, _replicas(given)),
        fresh=given.fresh,
    )
    _report_failures(result.results)


def _report_failures(results: pd.DataFrame) -> None:
    failed = results[results["status"] != "ok"]
    if len(failed) == len(results):
        raise UserError(f"All {len(results)} runs failed. The first: {failed['reason'].iloc[0]}")
    if len(failed):
        names = ", ".join(dict.fromkeys(failed["run"]))
        raise SomeRunsFailedError(
            f"{len(failed)} of {len(results)} runs failed ({names}). The report says why; the same command tries them "
            "again."
        )


def _parser() -> OneLineErrorParser:
    parser = OneLineErrorParser(
        prog="lit-cifar compare",
        usage="lit-cifar compare [--study NAME | --variants NAME,NAME [--sweep KEY=VALUES]] [--quick] [options]",
        description="Train several variants with several seeds and report what differs.",
    )
    add = parser.add_argument
    add("--study", type=str, default="exercise8", help=f"A study file, or one of {', '.join(shipped_studies())}.")
    add("--variants", type=str, help="Compare these variants or class paths instead, the first the baseline: ELU,SELU.")
    add("--sweep", type=str, action="append", help="Try values of a setting: model.variant.depth=5,10,20.")
    add("--quick", type=bool, nargs="?", const=True, default=False, help="Fewer epochs and seeds: minutes, not hours.")
    add(
        "--seeds", type=int | Literal["auto"], help="Number of seeds; auto adds seeds until every question is answered."
    )
    add("--max_seeds", type=int, help="The most seeds with --seeds auto.")
    add("--sensitivity", type=int, help="Seeds to repeat at half and twice the learning rate: do the answers stand?")
    add("--minutes", type=PositiveFloat, help="A time budget: when it is over, what is there is reported.")
    add("--lr", type=float, help="One learning rate for every run.")
    add("--max_epochs", type=int, help="The most epochs a run may take, for every run.")
    add("--patience", type=int, help="Epochs without a better validation loss after which a run stops.")
    _add_machine_options(parser)
    parser.add_class_arguments(CIFAR10DataModule, "data", skip={"seed", "pictures"}, instantiate=False)
    parser.set_defaults({"data.batch_size": None})
    return parser


def _add_machine_options(parser: OneLineErrorParser) -> None:
    """Add the options that say where the runs are done and kept."""
    add = parser.add_argument
    add(
        "--workers",
        type=NonNegativeInt,
        default=default_workers(),
        help="Worker processes; 0 runs everything in this one.",
    )
    add(
        "--replicas",
        type=NonNegativeInt,
        help="Train up to so many seeds of a run side by side, as one stacked network; 0: each by itself. "
        "Default: as many as its memory takes on a GPU, 0 on a CPU.",
    )
    add("--ray", type=str, help="Execute the runs on a Ray cluster: its address, auto, or local to start one here.")
    add("--output", type=str, help="Folder of the study. Default: logs/compare/<study>, with the data's name.")
    add(
        "--fresh",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="Repeat runs whose data, code or settings changed.",
    )


def _engine(given: Namespace) -> Engine:
    if given.ray:
        check_address(given.ray)
        return partial(run_on_cluster, address=given.ray, workers=given.workers, replicas=given.replicas)
    workers = given.workers
    if default_replicas() and workers == default_workers():
        workers = 1  # every process would hold a CUDA context of its own
    one_by_one = partial(run_in_pool, workers=workers) if workers else run_here
    replicas = _replicas(given)
    return partial(run_in_stacks, replicas=replicas, others=one_by_one) if replicas else one_by_one


def _replicas(given: Namespace) -> int:
    """How many runs to train side by side; a Ray cluster decides itself when it is asked."""
    if given.replicas is not None:
        return int(given.replicas)
    return 0 if given.ray else default_replicas()


def _study(given: Namespace) -> Study:
    study = load_study(given.study)
    sweeps = [parse_sweep(text) for text in given.sweep or ()]
    if given.variants is not None:
        names = [name.strip() for name in given.variants.split(",") if name.strip()]
        if len(set(names)) < len(names) or not names:
            raise UserError(f"--variants {given.variants}: give different names, like ELU,SELU.")
        study = variants_study([name if "." in name else variants.get(name).__name__ for name in names], sweeps)
    elif sweeps:
        raise UserError("--sweep varies a setting of --variants: add --variants ELU, for example.")
    return study.quickly() if given.quick else study


def _changes(given: Namespace, data: dict[str, Any]) -> Changes:
    """The study's settings that the command line changes. Batch and validation size leave the data's options."""
    values = {key: data.pop(key) if option.startswith("data.") else given[option] for key, option in CHANGES.items()}
    # typing has one object for int | float and float | int, so jsonargparse may read 30 as 30.0
    values = {key: int(v) if isinstance(v, float) and v.is_integer() else v for key, v in values.items()}
    try:
        return Changes.model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        (key, *_), problem = first_problem(error)
        raise UserError(f"--{CHANGES[str(key)]}: {problem}.") from error

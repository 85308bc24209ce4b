"""`lit_cifar.compare`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError
from rich.console import Console

import variants
from lit_cifar.api.arguments import as_data
from lit_cifar.api.notebook import LEFT, LastLine, Shown, in_notebook
from lit_cifar.data.datamodule import DEFAULTS, CIFAR10DataModule
from lit_cifar.study.answers import Answer
from lit_cifar.study.changing import change_all_runs
from lit_cifar.study.engines.base import Engine, run_here
from lit_cifar.study.engines.process_pool import run_in_pool
from lit_cifar.study.folders import default_folder
from lit_cifar.study.report.text_tables import answers_table, runs_table
from lit_cifar.study.result import StudyResult
from lit_cifar.study.runner import check_runs, conduct
from lit_cifar.study.schema import Changes, Protocol, Run, Study
from lit_cifar.study.study_data import open_data
from lit_cifar.study.study_file import first_problem, load_study
from lit_cifar.study.variants_study import compared_with_first
from lit_cifar.utils.errors import UserError
from variants import Variant

SHOWN = ("paired_differences", "learning_curves")
PROTOCOL_OF_DATA = ("batch_size", "val_size", "train_size")
"""Arguments of CIFAR10DataModule that a study's protocol decides."""

UNUSED = ("seed", "pictures")
"""Arguments of CIFAR10DataModule that a study has no use for."""


@dataclass(frozen=True, eq=False)
class Comparison(Shown):
    """What a comparison has found.

    Args:
        results: One row per run and seed, the columns of `results.csv`.
        summary: One row per run: means over seeds with their 95 % intervals (`x`, `x_low`, `x_high`).
        verdicts: One row per question: the verdict, the difference or ratio with its interval, the corrected p-value.
        data_source: Name of the data.
        folder: The study's folder.
        texts: The answers, and the runs with their scores, as tables of text; a notebook shows them.
    """

    results: pd.DataFrame
    summary: pd.DataFrame
    verdicts: pd.DataFrame
    data_source: str
    folder: Path
    texts: Sequence[pd.DataFrame] = field(repr=False)

    @property
    def report(self) -> Path:
        """The report: one HTML file that can be passed on."""
        return self.folder / "report.html"

    def __repr__(self) -> str:
        shown = self.verdicts[["question", "verdict"]] if len(self.verdicts) else self.summary[["run", "test_acc"]]
        return f"{self.data_source}\n{shown.to_string(index=False)}\nReport: {self.report}"

    def _html(self) -> str:
        tables = "".join(table.to_html(index=False, justify="left") for table in self.texts if len(table))
        return f"<p>{escape(self.data_source)}</p>{tables.replace('<td>', f'<td {LEFT}>')}"

    def _pictures(self) -> Mapping[str, bytes]:
        paths = [self.folder / "figures" / f"{name}.png" for name in SHOWN]
        return {path.stem: path.read_bytes() for path in paths if path.is_file()}


def compare(
    runs: str | Path | Sequence[str | Variant] | Mapping[str, str | Variant],
    data: CIFAR10DataModule | None = None,
    *,
    seeds: int | None = None,
    quick: bool = False,
    workers: int = 0,
    folder: str | Path | None = None,
    minutes: float | None = None,
    fresh: bool = False,
    progress: bool = True,
    **protocol: Any,
) -> Comparison:
    """Train several variants with several seeds and say what differs, as `lit-cifar compare` does.

    Calling it again continues where it stopped: finished runs are read from the folder.

    Args:
        runs: Variants or their names, the first of which is the baseline; the same by names of your own, as in
            `{"shallow": SELU(depth=5), "deep": SELU(depth=20)}`; or a study: a shipped one's name or a YAML file.
        data: The images. Its own seed isn't used. Default: CIFAR-10.
        seeds: Number of seeds. Default: the study's own.
        quick: Whether to run the study's short form.
        workers: Number of worker processes; 0 runs everything in this one.
        folder: The study's folder. Default: `logs/compare/<name>`, with the data's name.
        minutes: A time budget. When it is over, the runs at work are stopped; the next call starts them again.
            Default: none.
        fresh: Whether to repeat finished runs whose data, code or settings have changed. Otherwise they are an error.
        progress: Whether to show the progress.
        protocol: What is the same for all runs: `max_epochs`, `patience`, `learning_rate`, `mc_samples`, …; see
            `lit_cifar.study.schema.Protocol`.

    Returns:
        Tables of results and verdicts; a notebook shows them with the figures.

    Raises:
        UserError: if a run can't work, or the folder is in use.

    Examples:
        >>> import lit_cifar
        >>> data = lit_cifar.CIFAR10DataModule(source="synthetic", val_size=100)
        >>> found = lit_cifar.compare(["ELU", "SELU"], data, seeds=2, max_epochs=1, progress=False)
        >>> len(found.results)
        4
        >>> list(found.verdicts["question"])
        ['Is SELU better than ELU?']
    """
    data = as_data(data)
    study = _study(runs)
    study = change_all_runs(study.quickly() if quick else study, _changes(seeds, data, protocol))
    arguments = {name: value for name, value in data.init_args.items() if name not in PROTOCOL_OF_DATA + UNUSED}
    if workers < 0:
        raise UserError(f"workers={workers} is negative: use 0 to run everything in this process.")
    if workers:
        _check_workers(study)
    check_runs(study)
    engine: Engine = partial(run_in_pool, workers=workers) if workers else run_here
    command = f"lit_cifar.compare({runs!r}, {data!r}, seeds={study.seeds!r})"
    console = _console(progress)
    images = open_data(arguments)
    folder = Path(folder) if folder else default_folder(study, images)
    result = conduct(
        study, images, folder, engine=engine, command=command, console=console, minutes=minutes, fresh=fresh
    )
    texts = (answers_table(result.answers), runs_table(result))
    return Comparison(result.results, result.summary, verdicts(result), result.data_source, folder, texts)


def _console(progress: bool) -> Console:
    """A terminal's, or one whose last line a notebook shows."""
    if progress and not in_notebook():
        return Console()
    return Console(file=LastLine(progress), force_jupyter=False, force_terminal=False, width=200)  # type: ignore[arg-type]


def verdicts(result: StudyResult) -> pd.DataFrame:
    """One row per question of a study."""
    return pd.DataFrame([_verdict(answer) for answer in result.answers])


def _verdict(answer: Answer) -> dict[str, Any]:
    question, verdict = answer.question, answer.verdict
    comparison = verdict.comparison
    return {
        "question": question.ask,
        "verdict": verdict.answer,
        "measure": question.measure,
        "treatment": answer.treatment.mean,
        "baseline": answer.baseline.mean,
        "scale": comparison.scale,
        "effect": comparison.mean,
        "low": comparison.low,
        "high": comparison.high,
        "p": verdict.adjusted_p,
        "pairs": comparison.n,
    }


def _study(runs: str | Path | Sequence[str | Variant] | Mapping[str, str | Variant]) -> Study:
    if isinstance(runs, (str, Path)):
        return load_study(str(runs))
    named = dict(runs) if isinstance(runs, Mapping) else {_name(variant): variant for variant in runs}
    if len(named) < len(runs) or not named:
        raise UserError(
            f"compare({runs!r}): give different variants, or a dict that names each: {{'deep': SELU(), …}}."
        )
    described = {name: Run(model={"variant": _description(variant)}) for name, variant in named.items()}
    return compared_with_first(described, name="-".join(named))


def _name(variant: str | Variant) -> str:
    """A variant's name, with the hyperparameters that aren't its defaults, as those of a sweep."""
    if isinstance(variant, str):
        return variants.get(variant).__name__
    defaults = type(variant)().init_args
    changed = (f"{name}={value}" for name, value in variant.init_args.items() if value != defaults[name])
    return ", ".join([type(variant).__name__, *changed])


def _description(variant: str | Variant) -> str | dict[str, Any]:
    """A variant as a study file names it."""
    if isinstance(variant, str):
        return variants.get(variant).__name__
    return {"class_path": variants.to_spec(variant)["class_path"], "init_args": dict(variant.init_args)}


def _changes(seeds: int | None, data: CIFAR10DataModule, protocol: Mapping[str, Any]) -> Changes:
    """The settings of the caller and the data that differ from the study."""
    if unknown := set(protocol) - set(Protocol.model_fields):
        raise UserError(
            f"compare({unknown.pop()}=…): there is no such argument; use one of {', '.join(Protocol.model_fields)}."
        )
    of_data = {name: data.init_args[name] for name in PROTOCOL_OF_DATA if data.init_args[name] != DEFAULTS[name]}
    try:
        return Changes.model_validate({"seeds": seeds, **of_data, **protocol})
    except ValidationError as error:
        (key, *_), problem = first_problem(error)
        raise UserError(f"compare({key}=…): {problem}.") from error


def _check_workers(study: Study) -> None:
    """Check that worker processes can import the script and the variants of the study.

    Raises:
        UserError: If this is a worker that imports the script, or a variant is defined in a notebook.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing's own check
        raise UserError(
            "compare(workers=…) starts processes that import this script. In the script, call it below "
            '`if __name__ == "__main__":`, so that they don\'t call it, too.'
        )
    for name, run in study.runs.items():
        variant = run.model["variant"]
        if isinstance(variant, dict) and variant["class_path"].startswith("__main__."):
            raise UserError(
                f"workers: {name} is defined in this notebook or script, where worker processes can't import it. Write "
                "it to a file and import it (%%writefile my_variant.py), or use workers=0."
            )

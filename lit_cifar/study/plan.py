"""What a study is: a small YAML file that names runs, seeds, a protocol and questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from importlib import resources
from math import inf
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from lit_cifar.study.measures import MEASURES
from lit_cifar.utils.errors import UserError

LearningRatePolicy = Literal["search", "variant"]

LARGEST_STUDY = 100_000
"""Entries of a study file, its anchors written out."""

SEARCH_SEED = 1_000_000
"""The seed of every learning-rate search: other images are held out than in any run."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is the same for every run of a study, unless a run says otherwise on its face.

    Args:
        learning_rate: A number, `variant` (the one found for the variant), or `search` (a range test and confirm runs).
        batch_size: Images in a batch.
        val_size: Training images held out for validation.
        max_epochs: The most epochs a run may take.
        patience: Epochs without a better validation loss after which a run stops.
        mc_samples: Forward passes with dropout on, for networks that have dropout; 0 is none.
        shift: Whether to measure on corrupted test images, too: every corruption at every severity.
    """

    learning_rate: float | LearningRatePolicy = "variant"
    batch_size: int = 128
    val_size: int = 5000
    max_epochs: int = 100
    patience: int = 20
    mc_samples: int = 100
    shift: bool = False


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question a study answers by comparing two of its runs, paired by seed.

    Args:
        ask: The question in words, answered by yes or no.
        treatment: The run the question is about.
        baseline: The run it is compared with.
        measure: The figure to compare, a column of the results.
        baseline_measure: The baseline's figure, where it is another column.
        margin: The smallest difference that matters, in the measure's unit; by default the measure's own margin.
        kind: `better` asks whether the treatment is better, `as good` whether it is worse by less than the margin.
        primary: A primary question is tested with the whole error rate of 5 %, apart from the study's other questions.
    """

    ask: str
    treatment: str
    baseline: str
    measure: str = "test_acc"
    baseline_measure: str | None = None
    margin: float | None = None
    kind: Literal["better", "as good"] = "better"
    primary: bool = False


@dataclass(frozen=True, kw_only=True)
class Study:
    """The runs that answer a set of questions. `runs` maps a run's name to its LitClassifier arguments (`model`) and to
    whatever it changes in the protocol."""

    title: str
    runs: Mapping[str, Mapping[str, Any]]
    name: str = ""
    description: str = ""
    seeds: int = 3
    protocol: Protocol = field(default_factory=Protocol)
    questions: Sequence[Question] = ()
    quick: Mapping[str, Any] = field(default_factory=dict)
    is_quick: bool = False

    def quickly(self) -> Study:
        """The same study with its `quick` section over it: fewer epochs and seeds."""
        protocol = {key: value for key, value in self.quick.items() if key != "seeds"}
        runs = {name: {k: v for k, v in run.items() if k not in protocol} for name, run in self.runs.items()}
        return replace(
            self,
            seeds=self.quick.get("seeds", self.seeds),
            protocol=replace(self.protocol, **protocol),
            runs=runs,
            is_quick=True,
        )

    def run_protocol(self, name: str) -> Protocol:
        """The protocol of one run, its own changes included."""
        return replace(self.protocol, **{k: v for k, v in self.runs[name].items() if k != "model"})


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One training: everything a worker needs, as plain data. Equal plans give equal results."""

    name: str
    seed: int
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    protocol: Protocol
    kind: Literal["train", "search"] = "train"

    @property
    def label(self) -> str:
        """What people see."""
        return f"{self.name}, {'learning rate' if self.kind == 'search' else f'seed {self.seed}'}"

    @property
    def folder(self) -> Path:
        """The run's folder, relative to the study's."""
        return Path("runs") / folder_name(self.name) / ("lr_find" if self.kind == "search" else f"seed_{self.seed}")

    @property
    def fingerprint(self) -> str:
        """Changes when anything about the plan changes."""
        plan = asdict(self)
        if not self.protocol.shift:
            del plan["protocol"]["shift"]  # so that runs from before there was a shift stay finished
        return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]


def plan_runs(study: Study, data: Mapping[str, Any]) -> list[PlannedRun]:
    """All runs of a study, seed by seed, so that a study cut short has every run for the seeds it finished."""
    return [
        PlannedRun(name=name, seed=seed, model=run["model"], data=data, protocol=study.run_protocol(name))
        for seed in range(study.seeds)
        for name, run in study.runs.items()
    ]


def plan_searches(study: Study, data: Mapping[str, Any]) -> list[PlannedRun]:
    """A learning-rate search for each run that asks for one, with a seed that no run of the study has."""
    protocols = {name: study.run_protocol(name) for name in study.runs}
    return [
        PlannedRun(
            name=name, seed=SEARCH_SEED, model=study.runs[name]["model"], data=data, protocol=protocol, kind="search"
        )
        for name, protocol in protocols.items()
        if protocol.learning_rate == "search"
    ]


def variants_study(names: Sequence[str]) -> Study:
    """A study of some variants, each compared with the first."""
    first, *others = names
    questions = [Question(ask=f"Is {name} better than {first}?", treatment=name, baseline=first) for name in others]
    return Study(
        name="variants",
        title=f"{', '.join(names)}: what each one buys",
        runs={name: {"model": {"variant": name}} for name in names},
        questions=questions,
        quick={"seeds": 2, "max_epochs": 5},
    )


def shipped_studies() -> list[str]:
    """The names of the studies that come with lit_cifar."""
    folder = resources.files("lit_cifar.study") / "studies"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def load_study(name_or_path: str) -> Study:
    """Read a study: a shipped one by its name, or a YAML file.

    Raises:
        UserError: if there is none, or naming the file, line and key that are wrong.
    """
    if name_or_path in shipped_studies():
        text = (resources.files("lit_cifar.study") / "studies" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
        return parse_study(text, source=f"{name_or_path}.yaml", name=name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        raise UserError(
            f"There is no study {name_or_path!r}: give a YAML file or one of {', '.join(shipped_studies())}."
        )
    return parse_study(path.read_text(encoding="utf-8", errors="replace"), source=str(path), name=path.stem)


def parse_study(text: str, *, source: str, name: str) -> Study:
    """Turn a study's YAML text into a Study; `source` is what errors call the file."""
    content = _read_yaml(text, source)
    reader = _Reader(source)
    mapping = reader.mapping(content, Study, exclude={"name", "is_quick"})
    protocol = Protocol(**reader.mapping(mapping.pop("protocol", _Mapping()), Protocol))
    quick = mapping.pop("quick", _Mapping())
    runs = mapping.pop("runs")
    for run in runs:
        settings = runs[run]
        if not isinstance(settings, _Mapping) or not isinstance(settings.get("model"), _Mapping):
            raise reader.error(runs, run, "a run needs `model:` with at least a `variant:`.")
        reader.mapping(_without(settings, "model"), Protocol)
    reader.mapping(_without(quick, "seeds"), Protocol)
    questions = tuple(Question(**reader.mapping(question, Question)) for question in mapping.pop("questions", ()))
    for index, question in enumerate(questions):
        reader.check_question(content["questions"][index], question, runs)
    if mapping.get("seeds", 1) < 1:
        raise reader.error(content, "seeds", "a study needs at least 1 seed.")
    plain_runs = {run: _plain(settings) for run, settings in runs.items()}
    return Study(name=name, protocol=protocol, quick=_plain(quick), runs=plain_runs, questions=questions, **mapping)


def folder_name(name: str) -> str:
    """A run's name as a folder name that works everywhere."""
    return "".join(character if character.isalnum() or character in "-.+" else "_" for character in name)


class _Mapping(dict[str, Any]):
    """A mapping from a YAML file that remembers the lines of its keys."""

    lines: Mapping[str, int] = {}
    line: int = 1


def _read_yaml(text: str, source: str) -> Any:
    try:
        loader = _LineLoader(text)
        node = loader.get_single_node()
        if _unfolded_size(node, {}) > LARGEST_STUDY:
            raise UserError(
                f"{source}: its anchors unfold to more than {LARGEST_STUDY} entries. Write out what is meant."
            )
        return loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{source}, line {line}: this is not YAML: {error.problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # characters, dates, depths that can't be
        raise UserError(f"{source}: this is not YAML: {' '.join(str(error).split())}.") from error


def _unfolded_size(node: yaml.Node | None, known: dict[int, float]) -> float:
    """Entries of a YAML tree when every anchor is written out; infinite if one holds itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = inf
        children = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_unfolded_size(child, known) for child in children)
    return known[id(node)]


class _LineLoader(yaml.SafeLoader):
    pass


def _construct_mapping(loader: _LineLoader, node: yaml.MappingNode) -> Iterator[_Mapping]:
    mapping = _Mapping()
    yield mapping
    mapping.update({str(key): value for key, value in loader.construct_mapping(node, deep=True).items()})
    mapping.lines = {str(key.value): key.start_mark.line + 1 for key, _ in node.value}
    mapping.line = node.start_mark.line + 1


_LineLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


class _Reader:
    """Checks mappings against dataclasses, and says where in the file something is wrong."""

    def __init__(self, source: str) -> None:
        self.source = source

    def error(self, mapping: _Mapping, key: str, problem: str) -> UserError:
        return UserError(f"{self.source}, line {mapping.lines.get(key, mapping.line)}, {key}: {problem}")

    def mapping(self, content: Any, kind: type, exclude: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
        """The mapping as a plain dict, when its keys and the types of its values are those of a dataclass."""
        if not isinstance(content, _Mapping):
            raise UserError(f"{self.source}: expected a mapping of {', '.join(f.name for f in fields(kind))}.")
        hints = {name: hint for name, hint in get_type_hints(kind).items() if name not in exclude}
        for key, value in content.items():
            if key not in hints:
                raise self.error(content, key, f"unknown key; use one of {', '.join(hints)}.")
            if not _is(value, hints[key]):
                raise self.error(content, key, f"{value!r} should be {_in_words(hints[key])}.")
        needed = [f.name for f in fields(kind) if _is_required(f) and f.name not in content]
        if needed:
            raise UserError(f"{self.source}, line {content.line}: {', '.join(needed)} is missing.")
        return dict(content)

    def check_question(self, content: _Mapping, question: Question, runs: Mapping[str, Any]) -> None:
        for key in ("treatment", "baseline"):
            if content[key] not in runs:
                raise self.error(content, key, f"there is no run {content[key]!r}; use one of {', '.join(runs)}.")
        for key in ("measure", "baseline_measure"):
            if key in content and content[key] not in MEASURES:
                raise self.error(content, key, f"unknown measure; use one of {', '.join(MEASURES)}.")


def _is_required(field_: Field[Any]) -> bool:
    return field_.default is MISSING and field_.default_factory is MISSING


def _is(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_is(value, choice) for choice in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if origin is Mapping or hint is Protocol:
        return isinstance(value, Mapping)
    if origin is Sequence:
        return isinstance(value, list)
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _in_words(hint: Any) -> str:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join(_in_words(choice) for choice in get_args(hint))
    if origin is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if origin is Mapping or hint is Protocol:
        return "a mapping"
    if origin is Sequence:
        return "a list"
    return {int: "a whole number", float: "a number (write 1.0e-3, with a point)", str: "a text"}.get(hint, str(hint))


def _without(mapping: _Mapping, key: str) -> _Mapping:
    kept = _Mapping({name: value for name, value in mapping.items() if name != key})
    kept.lines, kept.line = mapping.lines, mapping.line
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value

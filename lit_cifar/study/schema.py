"""What a study is: runs, seeds, a protocol and questions. Every value is checked when the study is made."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lit_cifar.study.measures import MEASURES, is_logged

MOST_SEEDS = 1000


def _known_measure(name: str) -> str:
    if name not in MEASURES and not is_logged(name):
        raise PydanticCustomError(
            "measure",
            "unknown measure; use one of {known}, or the name of a logged value, which has a slash",
            {"known": ", ".join(MEASURES)},
        )
    return name


def _printable(name: str) -> str:
    if not name.isprintable():
        raise PydanticCustomError("name", "a run's name has printable characters only")
    return name


def _names_a_variant(model: dict[str, Any]) -> dict[str, Any]:
    if "variant" not in model:
        raise PydanticCustomError("model", "a run's model needs at least a `variant:`")
    return model


def _names_a_class(callback: dict[str, Any]) -> dict[str, Any]:
    if not callback.keys() <= {"class_path", "init_args"} or "class_path" not in callback:
        raise PydanticCustomError("callback", "a callback has a `class_path:` and, if it needs them, `init_args:`")
    return callback


Count = Annotated[int, Field(ge=1, le=10_000_000)]
Seeds = Annotated[int, Field(ge=1, le=MOST_SEEDS)]
SomeSeeds = Annotated[int, Field(ge=0, le=MOST_SEEDS)]
SeedsOrAuto = Seeds | Literal["auto"]
LearningRate = Annotated[float, Field(gt=0)] | Literal["search", "variant"]
MeasureName = Annotated[str, AfterValidator(_known_measure)]
RunName = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Callback = Annotated[dict[str, Any], AfterValidator(_names_a_class)]
Model = Annotated[dict[str, Any], AfterValidator(_names_a_variant)]


class _Checked(BaseModel):
    """Plain data that never changes: types are not converted, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class Protocol(_Checked):
    """The settings of all runs of a study, unless a run says otherwise.

    Args:
        learning_rate: A number, `variant` (the one found for the variant), or `search` (a range test, then short runs).
        batch_size: Images in a batch.
        val_size: Training images held out for validation; below 1, a share of them. None: the data's own validation
            images, or else a tenth.
        train_size: Use only so many training images, the same share of every class. None: all.
        max_epochs: The most epochs a run may take.
        patience: Epochs without a better validation loss after which a run stops.
        mc_samples: Forward passes with dropout on, for networks that have dropout; 0 is none.
        shift: Whether to measure on corrupted test images, too: every corruption at every severity.
    """

    learning_rate: LearningRate = "variant"
    batch_size: Count = 128
    val_size: Count | Annotated[float, Field(gt=0, lt=1)] | None = None
    train_size: Count | None = None
    max_epochs: Count = 100
    patience: Count = 20
    mc_samples: Annotated[int, Field(ge=0, le=100_000)] = 100
    shift: bool = False

    def given(self) -> dict[str, Any]:
        """The protocol settings that were given, without those left at their defaults."""
        return {key: getattr(self, key) for key in Protocol.model_fields if key in self.model_fields_set}


class Run(Protocol):
    """A run of a study, and what it changes in the study's protocol.

    Args:
        model: Arguments of LitClassifier, as a configuration file has them under `model:`.
        data: Options of CIFAR10DataModule for this run, such as `flip: true`.
        callbacks: More callbacks, each with `class_path` and `init_args`.
        trainer: Options of the Trainer for this run, such as `gradient_clip_val: 1.0`.
    """

    model: Model
    data: dict[str, Any] = {}
    callbacks: Sequence[Callback] = ()
    trainer: dict[str, Any] = {}

    def own_settings(self) -> dict[str, Any]:
        """Everything the run changes beside its model."""
        parts = {"data": self.data, "callbacks": list(self.callbacks), "trainer": self.trainer}
        return {**self.given(), **{name: part for name, part in parts.items() if part}}

    def without(self, settings: Mapping[str, Any]) -> Run:
        """The same run without its own values of some settings."""
        kept = {key: getattr(self, key) for key in self.model_fields_set if key not in settings}
        return Run.model_construct(_fields_set=set(kept), **kept)


class Changes(Protocol):
    """What `--quick` or the command line changes in a study, for all runs.

    Args:
        seeds: The number of seeds, or `auto`; None leaves the study's own.
        max_seeds: The most seeds with `auto`; None leaves the study's own.
        sensitivity: Seeds that are repeated at other learning rates; None leaves the study's own.
    """

    seeds: SeedsOrAuto | None = None
    max_seeds: Seeds | None = None
    sensitivity: SomeSeeds | None = None


class Question(_Checked):
    """A question a study answers by comparing two of its runs, paired by seed.

    Args:
        ask: The question in words, answered by yes or no.
        treatment: The run the question is about.
        baseline: The run it is compared with.
        measure: The figure to compare, a column of the results.
        baseline_measure: The baseline's figure, where it is another column.
        margin: The smallest difference that matters, in the measure's unit; by default the measure's own margin.
        kind: `better` asks whether the treatment is better, `as good` whether it is worse by less than the margin.
        better: For a logged value, such as `train/loss_decay`, which direction is better; its `margin` is needed, too.
        primary: A primary question is tested with the whole error rate of 5 %, apart from the study's other questions.
    """

    ask: str
    treatment: str
    baseline: str
    measure: MeasureName = "test_acc"
    baseline_measure: MeasureName | None = None
    margin: Annotated[float, Field(ge=0)] | None = None
    kind: Literal["better", "as good"] = "better"
    better: Literal["higher", "lower"] | None = None
    primary: bool = False

    @model_validator(mode="after")
    def _says_what_is_better(self) -> Self:
        logged = is_logged(self.measure)
        if logged and (self.better is None or self.margin is None):
            raise PydanticCustomError(
                "logged",
                "{measure} is a logged value: say `better: higher` or `lower`, and a `margin`",
                {"measure": self.measure},
            )
        if self.better is not None and not logged:
            raise PydanticCustomError(
                "better", "`better` is for logged values; leave it out for {measure}", {"measure": self.measure}
            )
        return self


class Study(_Checked):
    """The runs that answer a set of questions.

    Args:
        title: What people see first.
        runs: Each run by its name.
        name: Name of the study's folder.
        description: A few sentences for the report.
        seeds: How many seeds each run is trained with: 0, 1, 2, …; `auto` adds seeds until every question is answered.
        max_seeds: The most seeds with `auto`.
        sensitivity: How many seeds are repeated at half and at twice the learning rate, to see whether the answers
            stand; 0 is none.
        time_all_runs: Whether to time every run alone, not only those of questions about seconds.
        protocol: Settings of all runs.
        questions: Questions about the runs.
        quick: What `--quick` changes.
        is_quick: Whether `quick` has been applied.
        former_name: What version 0.1.0 called the study, if it had another name.
    """

    title: str
    runs: Annotated[dict[RunName, Run], Field(min_length=1)]
    name: str = ""
    description: str = ""
    seeds: SeedsOrAuto = "auto"
    max_seeds: Seeds = 32
    sensitivity: SomeSeeds = 0
    time_all_runs: bool = False
    protocol: Protocol = Protocol()
    questions: Sequence[Question] = ()
    quick: Changes = Changes()
    is_quick: bool = False
    former_name: str = ""

    @field_validator("runs")
    @classmethod
    def _differ_in_more_than_case(cls, runs: dict[str, Run]) -> dict[str, Run]:
        seen: dict[str, str] = {}
        for name in runs:
            folded = unicodedata.normalize("NFKC", name).casefold()
            if other := seen.get(folded):
                raise PydanticCustomError(
                    "name",
                    "{name} and {other} differ only in case or accents' encoding; give them different names",
                    {"name": repr(name), "other": repr(other), "at": (name,)},
                )
            seen[folded] = name
        return runs

    @field_validator("questions")
    @classmethod
    def _ask_about_runs(cls, questions: Sequence[Question], info: Any) -> Sequence[Question]:
        runs = info.data.get("runs")
        for index, question in enumerate(questions if runs is not None else ()):
            for key in ("treatment", "baseline"):
                if (name := getattr(question, key)) not in runs:
                    raise PydanticCustomError(
                        "run",
                        "there is no run {name}; use one of {runs}",
                        {"name": repr(name), "runs": ", ".join(runs), "at": (index, key)},
                    )
        return questions

    @property
    def most_seeds(self) -> int:
        """The number of seeds, or the most there may be."""
        return self.max_seeds if self.seeds == "auto" else self.seeds

    def quickly(self) -> Self:
        """The same study with its `quick` section applied: fewer epochs and seeds, and only what questions need."""
        only_needed = self.model_copy(update={"sensitivity": 0, "time_all_runs": False, "is_quick": True})
        return only_needed.changed(self.quick)

    def changed(self, changes: Changes) -> Self:
        """The same study with other settings for every run, also for those that have their own."""
        given = changes.given()
        update = {
            "seeds": changes.seeds or self.seeds,
            "max_seeds": changes.max_seeds or self.max_seeds,
            "sensitivity": self.sensitivity if changes.sensitivity is None else changes.sensitivity,
            "protocol": self.protocol.model_copy(update=given),
            "runs": {name: run.without(given) for name, run in self.runs.items()},
        }
        return self.model_copy(update=update)

    def run_protocol(self, name: str) -> Protocol:
        """The protocol of one run, with its own changes."""
        return self.protocol.model_copy(update=self.runs[name].given())

    def settings(self, name: str) -> dict[str, Any]:
        """Everything that makes up a run: its model, its protocol and its other own settings."""
        run = self.runs[name]
        return {**self.run_protocol(name).model_dump(), **run.own_settings(), "model": run.model}

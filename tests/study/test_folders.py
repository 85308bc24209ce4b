"""Each study has its own folder, so studies don't overwrite each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lit_cifar.data.sources.synthetic import SyntheticSource
from lit_cifar.study.engines.base import run_all, run_here
from lit_cifar.study.folders import claim, default_folder
from lit_cifar.study.plan import plan_runs
from lit_cifar.study.runner import check_runs
from lit_cifar.study.schema import Changes, Study
from lit_cifar.study.study_data import StudyData, open_data
from lit_cifar.study.study_file import parse_study
from lit_cifar.study.variants_study import Sweep, parse_sweep, variants_study
from lit_cifar.utils.errors import UserError

Run = Callable[..., tuple[int, str, str]]


def data(source: str = "cifar10", data_dir: str = "data") -> StudyData:
    return StudyData(arguments={"source": source, "data_dir": data_dir}, name=source, fingerprint="")


@pytest.mark.parametrize(
    ("study", "images", "folder"),
    [
        (variants_study(["ELU", "SELU"]), data(), "ELU-SELU"),
        (variants_study(["ELU", "SELU"]).quickly(), data(), "ELU-SELU-quick"),
        (variants_study(["ELU"]).quickly(), data("synthetic"), "ELU-quick-synthetic"),
        (variants_study(["ELU"]), data("folder", "some/pictures"), "ELU-pictures"),
        (variants_study(["ELU"], [Sweep("model.variant.depth", [5, 10])]), data(), "ELU-depth-5-10"),
    ],
)
def test_a_folder_tells_variants_mode_and_data(study: Study, images: StudyData, folder: str, workspace: Path) -> None:
    assert default_folder(study, images) == Path("logs/compare") / folder


@pytest.mark.parametrize("name", ["..", "a b", "con"])
def test_any_study_file_has_a_folder_below_the_others(name: str, workspace: Path) -> None:
    study = parse_study("title: T\nruns: {a: {model: {variant: ELU}}}\n", source="s", name=name)
    folder = default_folder(study, data())
    assert folder.resolve().parent == workspace / "logs/compare"
    assert folder.name != name


def test_a_study_begun_by_an_earlier_version_goes_on_in_its_folder(workspace: Path, pictures: Path) -> None:
    study = variants_study(["ELU"]).changed(Changes(seeds=1, max_epochs=1, val_size=30))
    images = open_data({"source": "folder", "data_dir": str(pictures)})
    former = Path("logs/compare/variants")
    assert default_folder(study, images) == Path("logs/compare") / f"ELU-{pictures.name}"
    list(run_all(plan_runs(study, images.arguments), former, run_here, lambda *_: None))
    assert default_folder(study, images) == former
    assert default_folder(study.changed(Changes(max_epochs=2)), images) != former
    claim(former, study, images)  # as `compare` does when it continues there
    assert default_folder(study, images) == former


@pytest.mark.parametrize(("images", "kept"), [(50_000, 10_000), (11_200, 10_000), (11_000, None), (100, None)])
def test_a_study_takes_all_images_where_there_are_fewer_than_it_wants(images: int, kept: int | None) -> None:
    study = variants_study(["ELU"]).changed(Changes(train_size=10_000))
    there = StudyData(arguments={}, name="", fingerprint="", train_images=images)
    assert there.fitted(study).protocol.train_size == kept


def test_a_folder_of_another_study_is_refused(tmp_path: Path) -> None:
    study = variants_study(["ELU", "SELU"])
    for _ in range(2):
        claim(tmp_path, study, data())
    for other, images in (
        (variants_study(["ELU"]), data()),
        (study.quickly(), data()),
        (study, data("synthetic")),
    ):
        with pytest.raises(UserError, match=r"belongs to another study \(ELU-SELU, on cifar10\).*folder=…"):
            claim(tmp_path, other, images)
    assert json.loads((tmp_path / "study.json").read_text())["study"] == "ELU-SELU"


@pytest.mark.parametrize(("first", "then"), [("auto", "synthetic"), ("synthetic", "auto")])
def test_a_study_on_images_that_stood_in_for_cifar10_goes_on(
    first: str, then: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SyntheticSource.__init__, "__kwdefaults__", {"train_size": 50, "test_size": 20, "seed": 0})
    study = variants_study(["ELU", "SELU"])
    nowhere = {"urls": ["http://127.0.0.1:9/cifar-10-python.tar.gz"]}
    began, goes_on = (open_data({"source": source, **nowhere}) for source in (first, then))
    assert {began.name, goes_on.name} == {"synthetic shapes", "synthetic shapes (CIFAR-10 is not available)"}
    folder = default_folder(study, began)
    assert folder == default_folder(study, goes_on)
    folder.mkdir(parents=True)
    claim(folder, study, began)
    claim(folder, study, goes_on)
    owner = folder / "study.json"  # as earlier versions wrote it
    for name in (began.name, "synthetic shapes (CIFAR-10 could not be had)"):
        owner.write_text(json.dumps({**json.loads(owner.read_text()), "data": name}))
        claim(folder, study, goes_on)
    assert [run.fingerprint for run in plan_runs(study, began.arguments, seeds=[0])] == [
        run.fingerprint for run in plan_runs(study, goes_on.arguments, seeds=[0])
    ]


def test_sweeps_combine() -> None:
    study = variants_study(["ELU", "SELU"], [parse_sweep("model.variant.depth=5,10"), parse_sweep("batch_size=32,64")])
    assert list(study.runs) == [
        f"{name}, depth={depth}, batch_size={size}"
        for name in ("ELU", "SELU")
        for depth in (5, 10)
        for size in (32, 64)
    ]
    last = study.runs["SELU, depth=10, batch_size=64"]
    assert last.model == {"variant": {"class_path": "SELU", "init_args": {"depth": 10}}}
    assert study.run_protocol("SELU, depth=10, batch_size=64").batch_size == 64
    assert {question.baseline for question in study.questions} == {"ELU, depth=5, batch_size=32"}
    assert len(study.questions) == 7


def test_a_swept_learning_rate_is_the_run_s() -> None:
    study = variants_study(["ELU"], [parse_sweep("model.learning_rate=1e-3,1e-2"), parse_sweep("data.batch_size=32")])
    assert [study.run_protocol(name).learning_rate for name in study.runs] == [1e-3, 1e-2]
    assert {study.run_protocol(name).batch_size for name in study.runs} == {32}
    check_runs(study)


def test_values_of_a_sweep_have_types() -> None:
    assert parse_sweep("model.l1=0,1e-3").values == [0, 1e-3]
    assert parse_sweep("data.flip=true,false").values == [True, False]
    assert parse_sweep("model.scheduler=null,one_cycle").values == [None, "one_cycle"]
    assert parse_sweep("trainer.gradient_clip_val=0.1").key == "trainer.gradient_clip_val"


@pytest.mark.parametrize("text", ["depth", "depth=5", "model.depth.x=5", "model.variant.depth=", "model.l1=1,1", "=5"])
def test_a_bad_sweep_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"as in model\.variant\.depth=5,10,20"):
        parse_sweep(text)


def test_a_sweep_from_the_command_line(
    lit_cifar: Run, workspace: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_cifar.study.runner.write_report", lambda *_: None)
    options = ["--seeds", 1, "--max_epochs", 1, "--data.val_size", 30, "--workers", 0]
    on_pictures = ["--data.source", "folder", "--data.data_dir", pictures]
    sweep = ["--variants", "ELU", "--sweep", "model.variant.depth=1,2", "--sweep", "model.variant.width=4"]
    code, out, err = lit_cifar("compare", *sweep, *options, *on_pictures)
    assert code == 0, err
    assert "ELU, depth=2, width=4, seed 0: test accuracy" in out
    folder = Path(f"logs/compare/ELU-depth-1-2-width-4-{pictures.name}")
    assert (folder / "runs").is_dir()
    code, _, err = lit_cifar("compare", "--variants", "ELU", *options, *on_pictures, "--output", folder)
    assert code == 1
    assert "belongs to another study (ELU-depth-1-2-width-4, on pictures in" in err
    assert "add --variants" in lit_cifar("compare", "--sweep", "model.l1=1")[2]


@pytest.mark.parametrize("output", ["a\0b", "/proc/nothing/here"])
def test_an_impossible_folder_is_one_line(output: str, lit_cifar: Run, workspace: Path) -> None:
    code, _, err = lit_cifar("compare", "--variants", "ELU", "--data.source", "synthetic", "--output", output)
    assert code == 1
    assert err.startswith("lit-cifar: error: ")
    assert len(err.splitlines()) == 1


def test_classes_that_the_images_do_not_have_are_found_before_the_first_run(pictures: Path) -> None:
    images = open_data({"source": "folder", "data_dir": str(pictures)})
    text = "title: Mine\nruns:\n  some:\n    model: {variant: ELU}\n    data: {classes: %s}\n"
    images.check(parse_study(text % "[cat, dog]", source="", name="mine"))
    with pytest.raises(UserError, match=r"Run 'some' of the study 'mine': classes=.* there is no class zebra"):
        images.check(parse_study(text % "[cat, zebra]", source="", name="mine"))

"""Records: a study is judged anew from plain files, also one that was stopped on its way."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lit_cifar.study.gathering import read_findings
from lit_cifar.study.judging import judge_again, judged
from lit_cifar.study.looks import Look
from lit_cifar.study.record import for_others, read_record, write_record
from lit_cifar.study.report.figures import layers_figures
from lit_cifar.study.result import StudyResult
from lit_cifar.study.schema import Question, Run, Study
from lit_cifar.utils.errors import UserError

Run_ = Callable[..., tuple[int, str, str]]
TINY = """\
title: Tiny
seeds: 2
protocol: {max_epochs: 2, batch_size: 16, val_size: 30, mc_samples: 2}
runs:
  ELU:
    model: {variant: {class_path: ELU, init_args: {depth: 1, width: 8}}}
    patience: 20
  None:
    model: {variant: {class_path: AlphaDropout, init_args: {depth: 1, width: 8}}}
questions:
  - {ask: "Is dropout better?", treatment: "None", baseline: ELU}
  - {ask: "Sooner?", treatment: "None", baseline: ELU, measure: epochs_to_reach}
"""


def test_a_record_gives_the_same_answers(study_result: StudyResult, tmp_path: Path) -> None:
    write_record(study_result, tmp_path / "record")
    found = judge_again(read_record(tmp_path / "record"))
    assert found.study == study_result.study
    for again, before in zip(found.answers, study_result.answers, strict=True):
        assert again.verdict.answer == before.verdict.answer
        assert again.verdict.adjusted_p == pytest.approx(before.verdict.adjusted_p, rel=0.01)
        assert again.values.failed == before.values.failed
        assert again.values.treatment == pytest.approx(before.values.treatment, rel=1e-6, nan_ok=True)
    pd.testing.assert_frame_equal(found.summary, study_result.summary, rtol=1e-6)
    rungs = [search.searches["ELU"]["ladder"][0] for search in (found, study_result)]
    assert rungs[0]["learning_rate"] == pytest.approx(rungs[1]["learning_rate"], rel=1e-4)
    assert rungs[0]["val_losses"] == rungs[1]["val_losses"]
    assert (tmp_path / "record/epochs.csv").stat().st_size < 200_000
    assert not found.is_interim


def test_a_record_keeps_the_layers_of_the_best_epochs(study_result: StudyResult, tmp_path: Path) -> None:
    write_record(study_result, tmp_path)
    found = read_record(tmp_path).histories
    for key, before in study_result.histories.items():
        best = before["val/loss"].argmin()
        layers = [name for name in before.columns if name.startswith("layer_")]
        assert found[key].loc[best, layers].tolist() == pytest.approx(before.loc[best, layers].tolist(), rel=1e-4)
        assert found[key][layers].notna().sum().tolist() == [1] * len(layers)
    drawn = layers_figures(judge_again(read_record(tmp_path)))
    assert [figure.name for figure in drawn] == ["layers"]


def test_runs_of_different_depth_keep_their_own_layers(study_result: StudyResult, tmp_path: Path) -> None:
    (key, history), *_ = study_result.histories.items()
    shallow = history.drop(columns=[name for name in history.columns if name.endswith("/hidden_02")])
    write_record(replace(study_result, histories={**study_result.histories, key: shallow}), tmp_path)
    found = read_record(tmp_path).histories
    assert sum(epochs.columns.str.endswith("/hidden_02").any() for epochs in found.values()) == len(found) - 1


def test_names_that_a_table_could_misread_come_back(tmp_path: Path) -> None:
    names = ["None", "1.0", "=sum", "nan"]
    runs = {name: Run(model={"variant": "ELU"}) for name in names}
    study = Study(title="", name="odd", runs=runs, seeds=1)
    rows = [
        {"run": name, "variant": "ELU", "seed": 0, "lr": 0.1, "status": "ok", "reason": "", "test_acc": 0.5}
        for name in names
    ]
    write_record(made(study, rows), tmp_path)
    assert read_record(tmp_path).results["run"].tolist() == names
    assert read_record(tmp_path).results["reason"].tolist() == [""] * 4


def made(study: Study, rows: list[dict[str, object]]) -> StudyResult:
    return StudyResult(
        study=study,
        results=pd.DataFrame(rows),
        histories={},
        data_source="made up",
        command="",
        summary=pd.DataFrame(),
        answers=(),
    )


def study_of(seeds: int | str = "auto") -> Study:
    runs = {name: Run(model={"variant": "ELU"}) for name in ("new", "old", "third")}
    questions = [
        Question(ask="?", treatment="new", baseline="old"),
        Question(ask="And?", treatment="third", baseline="old"),
    ]
    return Study(title="", name="made", runs=runs, seeds=seeds, max_seeds=16, questions=questions)


def rows_of(**seeds: int) -> list[dict[str, object]]:
    """Accuracies that differ clearly between `new` and `old`, and not between `third` and `old`."""
    base = {"new": 0.6, "old": 0.5, "third": 0.5}
    wobble = [0.0, 0.012, -0.011, 0.004, -0.013, 0.006, 0.009, -0.007]
    return [
        {
            "run": run,
            "seed": seed,
            "variant": "ELU",
            "lr": 0.1,
            "status": "ok",
            "reason": "",
            "test_acc": base[run] + wobble[seed % 8] * (1 + (run != "old")),
        }
        for run, number in seeds.items()
        for seed in range(number)
    ]


def test_a_study_that_was_stopped_between_two_looks_has_one_more_look() -> None:
    """`new` was answered after four seeds; `third` and `old` go on, and were stopped with five and seven."""
    findings = made(study_of(), rows_of(new=4, old=7, third=5))
    found = judge_again(replace(findings, looks=(Look(4, 0.25),)))
    assert [look.seeds for look in found.looks] == [4, 5]
    assert found.looks[1].weight == pytest.approx(0.75 / 12)
    assert found.answers[0].verdict.answer == "yes"
    assert found.answers[1].verdict.answer == "can't tell yet"
    assert found.is_interim
    assert found.results["seed"].max() == 4


def test_a_fixed_number_of_seeds_that_are_not_all_there_is_an_interim_look() -> None:
    found = judge_again(made(study_of(10), rows_of(new=5, old=6, third=6)))
    assert [(look.seeds, look.weight) for look in found.looks] == [(5, 0.5)]
    assert found.is_interim


def test_without_a_complete_seed_there_is_nothing_to_judge() -> None:
    rows = [row for row in rows_of(new=2, old=2, third=2) if (row["run"], row["seed"]) != ("third", 0)]
    with pytest.raises(UserError, match="nothing to judge yet"):
        judge_again(made(study_of(), rows))
    with pytest.raises(UserError, match="No run is finished"):
        judge_again(replace(made(study_of(), rows), results=pd.DataFrame({"run": [], "seed": [], "status": []})))
    with pytest.raises(UserError, match="no results of third: judge a study of new, old"):
        judge_again(made(study_of(), rows_of(new=2, old=2)))


def answers(out: str) -> list[str]:
    return re.findall(r"^Q\d.*$", out, re.MULTILINE)


def test_judging_a_folder_and_its_record_by_command(
    lit_cifar: Run_, workspace: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_cifar.study.runner.write_report", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "300")
    (workspace / "tiny.yaml").write_text(TINY)
    data = ["--data.source", "folder", "--data.data_dir", pictures]
    code, compared, err = lit_cifar("compare", "--study", "tiny.yaml", *data, "--workers", 0, "--output", "s")
    assert code == 0, err
    before = sorted(workspace.rglob("*"))
    code, out, err = lit_cifar("judge", "s")
    assert code == 0, err
    assert answers(out) == answers(compared)
    assert len(answers(out)) == 2
    assert sorted(workspace.rglob("*")) == before  # it writes nothing
    assert lit_cifar("judge", "s", "--keep", "record")[0] == 0
    assert {path.name for path in (workspace / "record").iterdir()} == {
        *("study.yaml", "environment.json", "looks.json", "searches.json"),
        *("results.csv", "epochs.csv", "layers.csv"),
    }
    shutil.rmtree("s/runs/ELU/seed_1")
    code, out, err = lit_cifar("judge", "s")
    assert (code, "Interim: 1 seed of at most 2." in out) == (0, True), err
    code, out, err = lit_cifar("judge", "record")
    assert answers(out) == answers(compared), err
    assert "torch" in json.loads(Path("record/environment.json").read_text())["environment"]
    kept = ("--keep", "public", "--report", "report", "--data_name", "Photos (JPEG)")
    code, out, err = lit_cifar("judge", "s", *kept)
    assert code == 0, err
    facts = json.loads(Path("public/environment.json").read_text())
    assert facts["data"] == "Photos (JPEG)"
    assert facts["command"] == (
        f"lit-cifar compare --study tiny.yaml --data.source folder --data.data_dir {pictures.name} --workers 0"
    )
    texts = [path.read_text() for path in (*Path("public").iterdir(), Path("report/report.md"))]
    assert not [text for text in texts if str(pictures) in text]
    assert any("Photos (JPEG)" in text for text in texts)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("diverged. It is kept: /home/me/logs/seed_2/best.ckpt.", "diverged. It is kept: best.ckpt."),
        (r"no file 'C:\Users\me\x.png'", "no file 'x.png'"),
        ("above and/or below 1/2, see https://host/a/b.html", "above and/or below 1/2, see https://host/a/b.html"),
    ],
)
def test_the_reasons_of_failures_name_no_folder_of_this_machine(reason: str, shown: str) -> None:
    rows = rows_of(new=2, old=2)
    findings = made(study_of(), rows)
    failed = replace(findings, results=findings.results.assign(reason=reason))
    assert set(for_others(failed, data_name="Photos").results["reason"]) == {shown}


def test_other_questions_about_the_same_runs(
    lit_cifar: Run_, workspace: Path, study_result: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    write_record(study_result, workspace / "record")
    (workspace / "other.yaml").write_text(
        "title: Other\nseeds: 6\nruns:\n  ELU: {model: {variant: ELU}}\n  BatchNorm: {model: {variant: BatchNorm}}\n"
        'questions:\n  - {ask: "Lower?", treatment: BatchNorm, baseline: ELU, measure: test_nll}\n'
    )
    code, out, err = lit_cifar("judge", "record", "--study", "other.yaml")
    assert code == 0, err
    assert answers(out)[0].startswith("Q1 Yes. Lower? ×")
    assert answers(out)[0].endswith("6 seeds")


def test_folders_of_earlier_versions_know_their_shipped_study(workspace: Path) -> None:
    """They have no study.yaml, but `study.json` names the study."""
    run = Path("runs/ELU/seed_0")
    run.mkdir(parents=True)
    Path("study.json").write_text(json.dumps({"study": "exercise8", "quick": True, "data": "some images"}))
    row = {"run": "ELU", "variant": "ELU", "seed": 0, "lr": 0.1, "batch_size": 128, "status": "ok", "reason": ""}
    plan = {"protocol": {"val_size": 5000}}
    (run / "result.json").write_text(json.dumps({"fingerprint": "", "row": {**row, "test_acc": 0.5}, "plan": plan}))
    found = read_findings(workspace)
    assert (found.study.name, found.study.is_quick, found.data_source) == ("exercise8", True, "some images")
    assert found.results["test_acc"].tolist() == [0.5]
    assert found.study.protocol.val_size == 5000  # given by --data.val_size
    Path("study.json").unlink()
    with pytest.raises(UserError, match="doesn't say what was asked: give the study, study=…"):
        read_findings(workspace)


def test_a_folder_without_a_study_is_said(lit_cifar: Run_, workspace: Path) -> None:
    code, _, err = lit_cifar("judge", "nowhere")
    assert (code, err) == (
        1,
        "lit-cifar: error: There is no folder nowhere: give the folder of a study, as logs/compare/exercise8.\n",
    )
    (workspace / "empty").mkdir()
    assert "empty holds no study" in lit_cifar("judge", "empty")[2]


def test_seeds_after_the_last_look_are_in_no_table_and_no_figure(study_result: StudyResult) -> None:
    assert {seed for _, seed in study_result.evaluations} == {0, 1}
    result = judged(study_result, (Look(1, 1.0),))
    assert set(result.results["seed"]) == {0}
    assert {seed for _, seed in result.histories} == {seed for _, seed in result.evaluations} == {0}

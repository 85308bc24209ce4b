"""The report: read back as a browser, a screen reader and a repository page read it."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pandas as pd
import pytest
from PIL import Image

from lit_cifar.study.answers import answer_questions
from lit_cifar.study.looks import Look
from lit_cifar.study.measures import MEASURES
from lit_cifar.study.report.content import write_report
from lit_cifar.study.report.wording import mean_cell, suggestion
from lit_cifar.study.verdicts import VERDICT_RULE
from tests.study.report_page import Page, written


def test_it_writes_both_reports_and_all_figures(folder):
    found = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in (".png", ".html", ".md")
    )
    names = (
        "accuracy_by_learning_rate",
        "examples",
        "layers",
        "learning_curves",
        "learning_rates",
        "mc_dropout",
        "mc_samples",
    )
    names = (*names, "paired_differences", "reliability", "risk_coverage")
    assert found == [*(f"figures/{name}.png" for name in names), "report.html", "report.md"]


def test_every_question_has_its_verdict(study_result, page, markdown):
    verdicts = [answer.verdict.answer for answer in study_result.answers]
    assert verdicts == ["yes", "yes", "can't tell yet", "no (worse)", "yes"]
    assert page.number_of("strong", "yes") == 3
    assert page.number_of("strong", "no") == 1
    assert re.findall(r"^\*\*(.*)\.\*\*", markdown, re.MULTILINE) == [v.capitalize() for v in verdicts]
    for answer in study_result.answers:
        assert answer.question.ask in page.text
        assert answer.question.ask in markdown
    assert VERDICT_RULE in page.text


def test_an_answer_shows_means_difference_and_corrected_p(study_result, page, markdown):
    answer = study_result.answers[2]
    assert f"{100 * answer.treatment.mean:.1f} % [{100 * answer.treatment.low:.1f}, " in page.text
    difference = f"{100 * answer.verdict.comparison.mean:+.2f} points".replace("-", "−")
    assert difference in page.text
    assert difference in markdown
    assert f"corrected p {answer.verdict.adjusted_p:.3f} (8 seeds)" in page.text
    without = answer.without_failed.comparison
    text = f"2 pairs with a diverged run, which counts as guessing. Without: yes, {100 * without.mean:+.2f} points ["
    assert text in page.text


def test_figures_are_inside_the_page_and_said_in_words(page, folder, study_result):
    images = page.all("img")
    assert len(images) == 10
    for image in images:
        assert re.search(r"\d\.\d|dog 41 %", image["alt"])
        content = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        assert content in [path.read_bytes() for path in (folder / "figures").iterdir()]
    difference = study_result.answers[0].verdict.comparison.mean
    assert any(f"Q1, BatchNorm against ELU: {100 * difference:+.2f} points [" in image["alt"] for image in images)


def test_the_alt_text_of_the_curves_is_about_the_epochs_of_all_seeds(study_result, page):
    seeds = [epochs for (run, _), epochs in study_result.histories.items() if run == "ELU"]
    mean = pd.concat([epochs.head(min(map(len, seeds))) for epochs in seeds]).groupby("epoch")["val/loss"].mean()
    alt = next(image["alt"] for image in page.all("img") if image["alt"].startswith("Four line charts"))
    assert f"ELU: lowest mean loss {mean.min():.3f} in epoch {mean.idxmin() + 1}, after" in alt


def test_mc_dropout_is_shown_with_what_its_probabilities_are_worth(study_result, page, markdown):
    tests = [test for (run, _), test in study_result.evaluations.items() if run == "AlphaDropout"]
    before, after = (sum(test["scores"][way]["ece"] for test in tests) / 2 for way in ("deterministic", "mc"))
    reliability, risk, samples, examples = (
        next(image["alt"] for image in page.all("img") if image["alt"].startswith(words))
        for words in ("Reliability", "Error rate", "Accuracy and NLL", "Images")
    )
    assert f"AlphaDropout: {before:.3f} without MC dropout and {after:.3f} with it." in reliability
    assert risk.count("AlphaDropout") == 2  # the run and its one-cycle cousin
    accuracy = sum(test["samples"]["accuracy"][0] for test in tests) / 2
    assert f"AlphaDropout: accuracy {100 * accuracy:.1f} % with 1 sample and" in samples
    assert "Most certain, wrong: dog 41 % (is cat), dog 41 % (is cat). Least certain, wrong: none." in examples
    assert "Curves are those of 4 of the 16 networks" in page.text
    assert "## MC dropout" in markdown
    assert "](figures/reliability.png)" in markdown


def test_the_best_means_are_marked(page, markdown):
    best = [attributes for attributes in page.all("td") if attributes.get("class") == "best"]
    assert len(best) == 8
    row = next(line for line in markdown.splitlines() if line.startswith("| BatchNorm |"))
    assert re.match(r"\| BatchNorm \| 8 \| \*\*52.6 %\*\* ", row)


def test_few_seeds_show_their_values_and_no_interval(quick_result, quick_folder):
    markdown = (quick_folder / "report.md").read_text(encoding="utf-8")
    elu = quick_result.results[quick_result.results["run"] == "ELU"]["test_acc"]
    values = ", ".join(f"{100 * value:.1f}" for value in elu)
    assert f"| ELU | 2 | {100 * elu.mean():.1f} % ({values}) |" in markdown


def test_no_interval_of_a_share_leaves_what_a_share_can_be():
    cell = mean_cell(MEASURES["dead_units"], [0.0, 0.0, 0.1, 0.0])
    assert (cell.text, cell.note) == ("2.5 %", "[0.0, 10.5]")
    assert mean_cell(MEASURES["test_acc"], [0.9, 1.0, 1.0, 1.0]).note == "[89.5, 100.0]"
    assert mean_cell(MEASURES["test_ece"], [0.001, 0.1, 0.001, 0.1]).note.startswith("[0.0")


def test_looks_are_shown_with_their_intervals(study_result, tmp_path):
    looks = (Look(4, 0.125), Look(6, 0.0625), Look(8, 0.0625))
    answers = answer_questions(study_result.study, study_result.results, study_result.histories, looks)
    written(replace(study_result, answers=answers, looks=looks), tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    alt = next(image["alt"] for image in page.all("img") if image["alt"].startswith("Intervals by number of seeds"))
    first = answers[0].verdict.history[0]
    assert f"Q1: BatchNorm against ELU: from [{100 * first.low:.2f}, {100 * first.high:.2f}] with 4 seeds" in alt
    assert "The interval's level is 99.69 %." in page.text


def test_failed_runs_are_shown_with_their_reasons(page, markdown):
    for text in (
        "2 failed runs of 40",
        "NonFiniteLossError: The loss became nan in epoch 2",
        "(2 failed)",
        "Failed runs are left out.",
    ):
        assert text in page.text
    assert "| SELU | 3 | NonFiniteLossError: The loss became nan in epoch 2 |" in markdown


def test_both_choices_of_the_epoch_stand_side_by_side(study_result, markdown):
    elu = study_result.results[study_result.results["run"] == "ELU"]
    by_loss, by_accuracy = elu["test_acc"].mean(), elu["selected_by_acc_test_acc"].mean()
    row = next(line for line in markdown.splitlines() if line.startswith("| ELU") and "points" in line)
    assert re.match(rf"\| ELU \| {100 * by_loss:.1f} % .* \| {100 * by_accuracy:.1f} % .* \|", row)
    assert f"{100 * (by_accuracy - by_loss):+.2f} points".replace("-", "−") in row


def test_it_says_how_to_repeat_the_study(page):
    for text in (
        "lit-cifar compare --study exercise8 --workers 2",
        "scheduler: one_cycle",
        "max_epochs: 20, patience: 20",
        "the range test suggests",
        "5 short runs decided",
        "processor",
        "torch",
    ):
        assert text in page.text


def test_a_full_study_on_the_official_images_warns_of_nothing(page):
    assert page.number_of("p", "warning") == 0


def test_a_quick_study_on_other_images_says_so_first(quick_folder):
    page = Page((quick_folder / "report.html").read_text(encoding="utf-8"))
    markdown = (quick_folder / "report.md").read_text(encoding="utf-8")
    assert page.number_of("p", "warning") == 2
    for text in (
        "not the official CIFAR-10 but synthetic shapes",
        "This is a quick run: at most 8 epochs and 2 seeds",
    ):
        assert text in page.text
        assert text in markdown
        assert page.text.index(text) < page.text.index("Does batch normalization")
    assert page.number_of("strong", "unknown") == 5


def test_a_study_of_failures_is_still_reported(odd_folder):
    page = Page((odd_folder / "report.html").read_text(encoding="utf-8"))
    for text in (
        "4 failed runs of 4",
        "No run has finished.",
        "difference – corrected p 1.000 (0 seeds)",
        "2 pairs left out because a run failed.",
    ):
        assert text in page.text
    assert "the margin is 1 point." in page.text
    assert len(page.all("img")) == 1


def test_a_report_is_replaced_and_leaves_out_what_an_old_folder_does_not_have(study_result, tmp_path):
    (tmp_path / "report.html").write_text("old", encoding="utf-8")
    written(replace(study_result, answers=[], searches={}, histories={}, evaluations={}, examples={}), tmp_path)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Answers" not in page.text
    assert [path.name for path in (tmp_path / "figures").glob("*.png")] == ["mc_dropout.png"]
    assert not list(tmp_path.rglob("*unfinished*"))


@pytest.mark.slow
def test_figures_are_small(study_result, tmp_path):
    write_report(study_result, tmp_path)
    for path in (tmp_path / "figures").glob("*.png"):  # TensorBoard's events are beside them
        assert path.stat().st_size < 150_000
        with Image.open(path) as image:
            assert image.width == 930


@pytest.mark.parametrize(("suggested", "words"), [(2.3e-4, "suggests 0.00023"), (None, "suggests none")])
def test_what_a_range_test_suggests_is_said(suggested: float | None, words: str) -> None:
    assert suggestion({"suggestion": suggested}).endswith(words)

"""Judge what a study has found. Nothing is trained: the same findings can be judged anew by another rule."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields

from lit_cifar.study.answers import Answer, answer_questions, open_runs, summarize
from lit_cifar.study.looks import Look, first_seeds, take_looks
from lit_cifar.study.result import Findings, StudyResult
from lit_cifar.study.sensitivity import with_firmness
from lit_cifar.utils.errors import UserError


def judged(findings: Findings, looks: Sequence[Look]) -> StudyResult:
    """Answer the questions of a study from the seeds of its last look.

    Args:
        findings: What its runs have found; later seeds, and runs of other studies, are left out.
        looks: The looks that were taken, at least one.
    """
    seeds, study = looks[-1].seeds, findings.study
    results = findings.results
    results = results[(results["seed"] < seeds) & results["run"].isin(study.runs)]
    kept = set(zip(results["run"], results["seed"], strict=True))
    histories = {key: epochs for key, epochs in findings.histories.items() if key in kept}
    evaluations = {key: found for key, found in findings.evaluations.items() if key in kept}
    answers = answer_questions(study, results, histories, looks, findings.timings)
    parts = {part.name: getattr(findings, part.name) for part in fields(Findings)}
    return StudyResult(
        **{**parts, "results": results, "histories": histories, "evaluations": evaluations, "looks": looks},
        summary=summarize(results),
        answers=with_firmness(answers, findings),
    )


def judge_again(findings: Findings) -> StudyResult:
    """Answer the questions of a study from what is there.

    Looks that were taken keep their shares of the error rate. Seeds that came after the last one are one more look.

    Raises:
        UserError: If the study asks about runs that aren't there, or has no seed for which every run is finished.
    """
    study, found = findings.study, set(findings.results["run"])
    if not found:
        raise UserError("No run is finished: there is nothing to judge yet.")
    if missing := [name for name in study.runs if name not in found]:
        raise UserError(f"There are no results of {', '.join(missing)}: judge a study of {', '.join(sorted(found))}.")
    is_auto = study.seeds == "auto"
    looks = take_looks(
        _WhatIsThere(findings),
        cap=study.most_seeds,
        before=findings.looks if is_auto else (),
        at_least=1 if is_auto else None,
    )
    if not looks:
        raise UserError("There is no seed for which every run is finished: there is nothing to judge yet.")
    return judged(findings, looks)


class _WhatIsThere:
    """What `take_looks` needs of a study whose runs are done."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    def runs_wanted(self, looks: Sequence[Look]) -> Collection[str]:
        """The runs of open questions; all of them before the first look."""
        return open_runs(self._answers(looks)) if looks else set(self.findings.study.runs)

    def train(self, runs: Collection[str], seeds: int) -> int:
        """Count the seeds that all of these runs have, up to so many."""
        results = self.findings.results
        done = set(zip(results["run"], results["seed"], strict=True))
        return first_seeds(runs, done, at_most=seeds)

    def looked(self, looks: Sequence[Look]) -> None:
        """Nothing is kept: the study may still go on."""

    def _answers(self, looks: Sequence[Look]) -> list[Answer]:
        found = self.findings
        return answer_questions(found.study, found.results, found.histories, looks, found.timings)

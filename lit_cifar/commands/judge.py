"""`lit-cifar judge`: answer the questions of a study from what its runs have found, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lit_cifar.study.gathering import read_findings
from lit_cifar.study.judging import judge_again
from lit_cifar.study.record import for_others, write_record
from lit_cifar.study.report.content import write_report
from lit_cifar.study.study_file import load_study
from lit_cifar.study.terminal import print_answers
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import check_writable
from lit_cifar.utils.parser import OneLineErrorParser


def judge(arguments: Sequence[str]) -> None:
    """Judge a study anew and print its answers.

    Raises:
        UserError: If there is no study in the folder, or nothing to judge yet.
    """
    given = _parser().parse_args(list(arguments))
    folder = Path(given.folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: give the folder of a study, as logs/compare/exercise8.")
    findings = read_findings(folder, load_study(given.study) if given.study else None)
    if given.data_name:
        findings = for_others(findings, data_name=given.data_name)
    result = judge_again(findings)
    console = Console()
    print_answers(result, console)
    if given.report:
        check_writable(Path(given.report) / "report.html", "The report")
        write_report(result, Path(given.report))
        console.print(f"Report: {Path(given.report) / 'report.html'}", highlight=False, markup=False)
    if given.keep:
        check_writable(Path(given.keep) / "results.csv", "The record")
        write_record(findings, Path(given.keep))
        console.print(f"Record: {given.keep}", highlight=False, markup=False)


def _parser() -> OneLineErrorParser:
    parser = OneLineErrorParser(
        prog="lit-cifar judge",
        description="Answer the questions of a study from what its runs have found, without training: that of a study "
        "that was stopped, of a published record, or with the questions and the rule of another file.",
    )
    add = parser.add_argument
    add("folder", type=str, help="The folder of a study, or a record that --keep has written.")
    add("--study", type=str, help="Ask the questions of this study about the same runs.")
    add("--report", type=str, help="Write the report into this folder.")
    add("--keep", type=str, help="Write the record into this folder: all that judging needs, small enough to publish.")
    add(
        "--data_name",
        type=str,
        help="Call the data so in the record and the report, and leave out where folders lie on this machine.",
    )
    return parser

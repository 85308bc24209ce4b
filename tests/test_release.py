"""What a release needs: supported versions, CI and metadata that agree with each other."""

from __future__ import annotations

import re
import runpy
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SUPPORTED = ["3.11", "3.12", "3.13", "3.14"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def public_ci() -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    return jobs


def commands_of_public_ci() -> set[str]:
    steps = chain.from_iterable(job["steps"] for job in public_ci().values())
    return {step["run"] for step in steps if "run" in step}


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile, as one would type them with .venv activated."""
    match = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)+)", read("Makefile"), re.MULTILINE)
    assert match, f"the Makefile has no target {target}"
    return [re.sub(r"\$\(BIN\)/|\$\(PRETEND\) ", "", line.strip()) for line in match[1].splitlines()]


def test_public_ci_runs_what_the_local_ci_runs() -> None:
    targets = re.findall(r"^make (\S+)", read(".ci/run"), re.MULTILINE)
    assert {"test", "lint"} <= set(targets)
    commands = commands_of_public_ci()
    missing = [t for t in targets if f"make {t}" not in commands and not commands.issuperset(recipe(t))]
    assert missing == [], "add these targets of .ci/run to .github/workflows/ci.yml"


def test_public_ci_builds_the_documentation_and_the_wheel() -> None:
    assert {"make docs", "make release-check"} <= commands_of_public_ci()


def test_supported_python_versions_are_the_same_everywhere() -> None:
    classifiers = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert classifiers == SUPPORTED
    assert PROJECT["requires-python"] == f">={SUPPORTED[0]}"
    assert public_ci()["test"]["strategy"]["matrix"]["python"] == SUPPORTED
    assert "python_version <" not in read("constraints.txt")
    for page in ("README.md", "CONTRIBUTING.md"):
        assert re.search(r"3\.11 to 3\.14", read(page)), page


def test_public_ci_runs_on_the_three_systems() -> None:
    systems = public_ci()["test"]["strategy"]["matrix"]["os"]
    assert [system.partition("-")[0] for system in systems] == ["ubuntu", "macos", "windows"]


@pytest.mark.parametrize("tool", ["ruff"])
def test_pre_commit_has_the_versions_of_the_constraints(tool: str) -> None:
    hooks = {repo["repo"].rpartition("/")[2]: repo for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]}
    assert f"{tool}=={hooks[f'{tool}-pre-commit']['rev'].removeprefix('v')}\n" in read("constraints.txt")


def test_the_citation_has_the_version_and_address_of_the_project() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Source"]


def test_every_shipped_study_can_be_planned(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / ".ci/plans.py"))
    printed = capsys.readouterr().out.splitlines()
    files = {path.stem for path in (ROOT / "lit_cifar/study/studies").glob("*.yaml")}
    assert [line.split("`")[1] for line in printed] == sorted(files)

"""The code, commands and links in the documentation work."""

from __future__ import annotations

import importlib.util
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import variants
from lit_cifar import conformance
from lit_cifar.callbacks import EvaluationReport, Histograms, PredictionWriter
from lit_cifar.commands import compare
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.training.module import LitClassifier
from lit_cifar.utils.parser import OneLineErrorParser
from tests.data.sources.published import write_fashion_mnist
from variants import Variant, registry

ROOT = Path(__file__).parent.parent
VARIANTS_PAGE = (ROOT / "docs/variants.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
Run = Callable[..., tuple[int, str, str]]


def blocks(page: str, language: str) -> list[str]:
    """The fenced code blocks of a language; "" selects those without one."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [block for named, block in fenced if named == language]


PLUGINS = [block for page in (VARIANTS_PAGE, README) for block in blocks(page, "python") if "Variant)" in block]
COMMANDS = [line.split()[1:] for line in "".join(blocks(VARIANTS_PAGE, "")).splitlines()]
TAKES_LONG = ("lr-find", "compare")


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_classes", "_origins"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.setattr(sys, "path", list(sys.path))


def module_of(source: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("number", range(len(PLUGINS)))
def test_documented_variants_keep_the_contract(number: int, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(PLUGINS[number], workspace / f"documented_{number}.py", monkeypatch)
    (found,) = (
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Variant) and thing.__module__ == module.__name__
    )
    assert [reason for _, reason in conformance.results(found) if reason] == []


def test_the_documented_source_keeps_its_promises(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [block for block in blocks(VARIANTS_PAGE, "python") if "(Source)" in block]
    write_fashion_mnist(workspace)
    source_class = module_of(block, workspace / "fashion.py", monkeypatch).FashionMNIST
    for invert in (False, True):
        assert [
            reason for _, reason in conformance.source_results(source_class(workspace, invert=invert)) if reason
        ] == []


def test_the_expected_examples_are_found() -> None:
    assert len(PLUGINS) == 5
    assert [command[0] for command in COMMANDS] == ["variants", "fit", "lr-find", "compare"]


@pytest.mark.parametrize(
    "command", [pytest.param(c, marks=[pytest.mark.slow] * (c[0] in TAKES_LONG)) for c in COMMANDS]
)
def test_documented_commands_work(
    command: list[str], lit_cifar: Run, on_pictures: list[object], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "leaky", raising=False)
    Path("leaky.py").write_text(blocks(VARIANTS_PAGE, "python")[0])
    short = {
        "variants": ["--quick"],
        "fit": [*on_pictures, "--trainer.max_epochs", 1],
        "lr-find": [*on_pictures, "--steps", 40, "--confirm_epochs", 1],
        "compare": [*on_pictures[:8], "--max_epochs", 1, "--seeds", 1, "--workers", 0],
    }[command[0]]
    code, out, err = lit_cifar(*command, *short)
    assert code == 0, out + err
    monkeypatch.delitem(sys.modules, "leaky", raising=False)


CLASSES = (LitClassifier, CIFAR10DataModule, Histograms, EvaluationReport, PredictionWriter)


@pytest.mark.parametrize("of", [*CLASSES, *map(variants.get, variants.available())], ids=lambda of: of.__name__)
def test_every_option_has_help(of: type) -> None:
    parser = OneLineErrorParser()
    parser.add_class_arguments(of, "of")
    assert without_help(parser) == []


def test_every_option_of_compare_has_help() -> None:
    assert without_help(compare._parser()) == []


def without_help(parser: OneLineErrorParser) -> list[str]:
    return [action.dest for action in parser._actions if not action.help]


PAGES = sorted((ROOT / "docs").glob("*.md"))
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]


def pages_of(navigation: list[dict[str, Any]]) -> Iterator[str]:
    """The files of a navigation and its sections."""
    for entry in navigation:
        for target in entry.values():
            yield from pages_of(target) if isinstance(target, list) else [target]


def test_every_page_is_in_the_navigation() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert sorted(pages_of(navigation)) == [page.name for page in PAGES]


@pytest.mark.parametrize("page", [*OTHERS, *PAGES], ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_text_shared_with_the_readme_exists(page: Path) -> None:
    sections = re.findall(r'^--8<-- "README.md:(\w+)"$', page.read_text(encoding="utf-8"), re.MULTILINE)
    for section in sections:
        shared = README.partition(f"[start:{section}]")[2].partition(f"[end:{section}]")[0]
        assert shared, section
        assert "](" not in shared, f"{section}: a link that is right in one place is wrong in the other"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_has_its_links(path: Path) -> None:
    page = (ROOT / "docs/notebooks.md").read_text(encoding="utf-8")
    place = f"lit-cifar/lit_cifar/blob/main/examples/{path.name})"
    assert f"(https://github.com/{place}" in page
    assert f"(https://colab.research.google.com/github/{place}" in page


@pytest.mark.parametrize("page", [*OTHERS[:2], *PAGES], ids=lambda page: page.name)
def test_files_of_the_project_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:lit_cifar|variants|tests|benchmarks|examples|docs|\.ci)/[\w./-]*)`", page.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


SCRIPT = runpy.run_path(str(ROOT / ".ci/commands_page.py"))
FREE = {"variants", "tensorboard"}
"""These have parsers of another kind."""


def typed_commands() -> dict[str, set[str]]:
    """The options in all pages' code blocks, by command."""
    found: dict[str, set[str]] = {}
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in "".join(blocks(text, "") + blocks(text, "powershell")).splitlines():
            name, *words = line.partition("#")[0].split() or [""]
            if name == "lit-cifar" and not words[0].startswith("--"):
                found.setdefault(words[0], set()).update(word for word in words if word.startswith("--"))
    return found


@pytest.mark.parametrize("command", sorted(typed_commands()))
def test_documented_options_exist(command: str) -> None:
    assert command in SCRIPT["COMMANDS"]
    if command in FREE:
        return
    actions = [a for a in SCRIPT["parser_of"](command)._actions if a.help != "Path to a configuration file."]
    known = {name.removesuffix("+") for action in actions for name in action.option_strings}
    assert [
        option for option in sorted(typed_commands()[command]) if not known.intersection(with_parents(option))
    ] == []


def with_parents(option: str) -> list[str]:
    """An option and what it may belong to: `--a.b.c`, `--a.b`, `--a`."""
    parts = option.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def test_the_options_page_has_every_command_and_option() -> None:
    assert {"fit", "test", "predict", "compare", "variants"} <= set(SCRIPT["COMMANDS"])
    seen: dict[str, str] = {}
    groups = SCRIPT["parser_of"]("compare")._action_groups
    text = "\n".join(line for group in groups for line in SCRIPT["section"]("compare", group, seen))
    assert "`--study` default `exercise8`\n:   A study file" in text
    assert "### --data { #compare-data }" in text
    again = "\n".join(line for group in groups for line in SCRIPT["section"]("other", group, seen))
    assert "The same as for [compare](#compare-data)." in again
    assert "`--data.source`" not in again

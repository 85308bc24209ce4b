"""Variants in the user's `variants/` folder: found by name, and imported only when they are named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import lit_cifar as package
import variants
from lit_cifar.training import checkpoints
from variants import registry

Run = Callable[..., tuple[int, str, str]]
SOURCE = '''
from pathlib import Path
from torch import nn
from variants import DenseVariant

Path("{name} was imported").touch()

class {name}(DenseVariant):
    """Leaky, for a test."""

    learning_rate = 1e-3
    reference = "none"

    def hidden_block(self, dense, index):
        return [dense, nn.LeakyReLU()]
'''


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test registers or imports is gone after it."""
    for name in ("_classes", "_origins", "_broken"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.setattr(registry, "_folders", [])
    monkeypatch.setattr(variants, "__path__", list(variants.__path__))
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("variants."):
            del sys.modules[name]


@pytest.fixture
def folder(workspace: Path) -> Path:
    (workspace / "variants").mkdir()
    return workspace / "variants"


def imported() -> list[str]:
    return sorted(path.name.partition(" ")[0] for path in Path().glob("* was imported"))


def test_they_are_listed_without_being_imported(folder: Path, lit_cifar: Run) -> None:
    (folder / "quiet.py").write_text(SOURCE.format(name="Quiet"))
    (folder / "coloured.py").write_text(SOURCE.format(name="Bright").replace("Leaky", "\x1b[31mLeaky"))
    (folder / "no_python.py").write_text("class Broken(:")
    (folder / "_hidden.py").write_text(SOURCE.format(name="Hidden"))
    code, out, _ = lit_cifar("variants", "[QBH]*")
    assert code == 0
    assert "Quiet  Leaky, for a test.\n  from: variants/quiet.py, which is imported when you name the variant" in out
    assert "BatchNorm" in out
    assert "Hidden" not in out
    assert "\x1b" not in out
    assert imported() == []


def test_naming_one_imports_it_and_says_where_it_is_from(
    folder: Path, lit_cifar: Run, on_pictures: list[object], no_figures: None
) -> None:
    for name in ("Named", "Other"):
        (folder / f"{name.lower()}.py").write_text(SOURCE.format(name=name))
    code, _, err = lit_cifar("fit", "--model.variant", "Named", "--trainer.max_epochs", 1, *on_pictures)
    assert code == 0, err
    assert "the variant Named comes from variants/named.py" in err
    assert imported() == ["Named"]
    (best,) = Path("logs").rglob("best.ckpt")
    assert checkpoints.description(checkpoints.read(best))["variant"]["class_path"] == "variants.named.Named"


def test_a_checkpoint_imports_nothing(folder: Path, lit_cifar: Run) -> None:
    (folder / "trap.py").write_text(SOURCE.format(name="Trap"))
    spec = {"class_path": "variants.trap.Trap", "init_args": {}, "distribution": "", "version": ""}
    described = {"version": "0.1.0", "variant": spec, "class_names": ["cat", "dog"], "learning_rate": 1e-3}
    torch.save({"state_dict": {"network.scale.mean": torch.zeros(3, 32, 32)}, checkpoints.KEY: described}, "got.ckpt")
    code, _, err = lit_cifar("test", "--ckpt_path", "got.ckpt", "--data.source", "synthetic")
    assert code == 1
    assert "'variants.trap.Trap' is not registered here" in err
    assert imported() == []


@pytest.mark.parametrize(
    ("file", "source", "message"),
    [
        ("elu.py", SOURCE.format(name="Shadow"), "the file is called like a built-in one: rename it"),
        ("no_variant.py", "class Bare(dict): pass", "Bare is no subclass of variants.Variant"),
        ("always_failing.py", "class Failing(dict): pass\n1 / 0", "division by zero"),
    ],
)
def test_one_that_can_not_be_used_is_one_line(
    file: str, source: str, message: str, folder: Path, lit_cifar: Run
) -> None:
    (folder / file).write_text(source)
    name = source.partition("class ")[2].partition("(")[0]
    code, _, err = lit_cifar("variants", "check", name)
    assert code == 1
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert variants.get("ELU").__module__ == "variants.elu"


def test_an_unknown_name_suggests_those_in_the_folder(folder: Path, lit_cifar: Run) -> None:
    (folder / "suggested.py").write_text(SOURCE.format(name="Suggested"))
    code, _, err = lit_cifar("variants", "check", "Sugested")
    assert code == 1
    assert "Did you mean 'Suggested'?" in err
    assert imported() == []


def test_a_variants_folder_does_not_hide_the_package(folder: Path) -> None:
    """As in a worker process of an editable installation, where the current folder comes first."""
    root = Path(package.__file__).parent
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("lit_cifar", {str(root / "__init__.py")!r})
sys.modules["lit_cifar"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
sys.path.insert(0, "")
print(importlib.util.find_spec("variants").origin)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert Path(done.stdout.strip()) == root.parent / "variants" / "__init__.py"


@pytest.mark.slow
def test_compare_uses_them_in_its_workers(folder: Path, pictures: Path) -> None:
    (folder / "worked.py").write_text(SOURCE.format(name="Worked"))
    data = ["--data.source", "folder", "--data.data_dir", str(pictures), "--data.val_size", "30"]
    command = [
        sys.executable,
        "-m",
        "lit_cifar",
        "compare",
        "--variants",
        "ELU,Worked",
        "--seeds",
        "1",
        "--workers",
        "2",
    ]
    command += ["--max_epochs", "1", "--output", "out", *data]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("comes from variants/worked.py") == 1
    assert Path("out/results.csv").read_text().count(",ok,") == 2

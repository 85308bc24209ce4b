"""`lit-cifar variants`, `variants check` and `variants new` as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

import variants
from lit_cifar.conformance import CHECKS, SLOW_CHECKS
from tests.installed import install
from variants import registry

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test registers or imports is gone after it."""
    for name in ("_classes", "_origins", "_broken"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def broken_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    entry_point = EntryPoint("Lost", "no_such_module:Lost", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "_entry_points", lambda: iter([entry_point]))
    registry._load_plugins.cache_clear()


def test_variants_are_listed(lit_cifar: Run) -> None:
    code, out, _ = lit_cifar("variants")
    assert code == 0
    assert all(name in out for name in variants.available())
    assert "ELU" not in lit_cifar("variants", "Swish*")[1]


def test_json_tells_all_there_is(lit_cifar: Run) -> None:
    code, out, _ = lit_cifar("variants", "--json", "alpha*")
    assert code == 0
    (found,) = json.loads(out)["variants"]
    assert found == {
        "name": "AlphaDropout",
        "description": "SELU with alpha dropout, which keeps the activations' mean and variance.",
        "origin": {"package": "lit-cifar", "version": "0.1.0", "module": "variants.alpha_dropout"},
        "learning_rate": variants.get("AlphaDropout").learning_rate,
        "paper": variants.get("AlphaDropout").reference,
        "hyperparameters": {"rate": 0.1, "layers": "last", "depth": 20, "width": 100, "scaling": "standardize"},
    }


@pytest.mark.usefixtures("broken_plugin")
def test_a_broken_plugin_is_listed_with_its_error(lit_cifar: Run) -> None:
    code, out, err = lit_cifar("variants")
    assert code == 0
    assert "SELU" in out
    assert "Lost  can't be used: ModuleNotFoundError: No module named 'no_such_module'" in out
    assert err.count("\n") == 1
    (broken,) = json.loads(lit_cifar("variants", "--json")[1])["broken"]
    assert broken["name"] == "Lost"
    assert "no_such_module" in broken["error"]


def test_attributes_that_make_no_sense_are_listed_as_errors(lit_cifar: Run) -> None:
    with_rate = type("Fast", (variants.get("ELU"),), {"__doc__": "Fast \x1b[31m.", "learning_rate": "high"})
    variants.register(with_rate)
    code, out, _ = lit_cifar("variants")
    assert code == 0
    assert "Fast  can't be used: ValueError: could not convert string to float: 'high'" in out
    with_rate.learning_rate = 0.5
    assert "Fast  Fast [31m.\n" in lit_cifar("variants")[1]


def test_listing_needs_no_lightning() -> None:
    code = "import sys; from lit_cifar.__main__ import main; main(['variants', '--json'])\n"
    code += "assert not {'lightning', 'jsonargparse', 'torchmetrics', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)  # noqa: S603


def test_check_prints_a_line_for_each_promise(lit_cifar: Run) -> None:
    code, out, err = lit_cifar("variants", "check", "selu", "--quick")
    assert code == 0, err
    assert [line[0] for line in out.splitlines()] == ["✓"] * len(CHECKS)


@pytest.mark.slow
@pytest.mark.compiles
def test_check_compiles_and_starts_another_process_too(workspace: Path) -> None:
    Path("own.py").write_text("from variants import Swish\n\nclass Own(Swish):\n    'Own.'\n    learning_rate = 1e-3\n")
    command = [sys.executable, "-m", "lit_cifar", "variants", "check", "own.Own"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == len(CHECKS) + len(SLOW_CHECKS)


def test_check_says_which_promise_is_broken_and_why(lit_cifar: Run, workspace: Path) -> None:
    Path("my_broken_module.py").write_text(
        "from torch import nn\nfrom variants import Variant\n\n"
        "class Nine(Variant):\n    'Nine logits whatever it is asked.'\n\n"
        "    def build(self, image_shape, num_classes):\n"
        "        return nn.Sequential(nn.Flatten(), nn.Linear(3072, 9))\n"
    )
    code, out, err = lit_cifar("variants", "check", "my_broken_module.Nine", "--quick")
    assert code != 0
    assert err == "lit-cifar: error: Nine fails 5 of the checks.\n"
    failed = [line for line in out.splitlines() if line.startswith("✗")]
    assert "4 images and 10 classes give logits of shape [4, 9]" in failed[0]


def test_check_says_the_same_reason_once(lit_cifar: Run, workspace: Path) -> None:
    Path("my_other_broken_module.py").write_text(
        "from variants import DenseVariant\n\n"
        "class Nothing(DenseVariant):\n    'No layers.'\n\n"
        "    def hidden_block(self, dense, index):\n        pass\n"
    )
    _, out, _ = lit_cifar("variants", "check", "my_other_broken_module.Nothing", "--quick")
    assert out.count("hidden_block has returned None") == 2  # of its own and of other hyperparameters
    assert out.count(": the same\n") > 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SLU", "Did you mean 'SELU'?"),
        ("nowhere.Mine", "nowhere can't be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("json.Mine", "json has no class Mine"),
    ],
)
def test_what_can_not_be_checked(lit_cifar: Run, name: str, message: str) -> None:
    code, _, err = lit_cifar("variants", "check", name)
    assert code != 0
    assert message in err
    assert err.count("\n") == 1


def test_another_class_takes_over_a_checkpoint_and_says_what_differs(
    lit_cifar: Run, on_pictures: list[object], workspace: Path
) -> None:
    small = ["--model.variant.depth", 2, "--model.variant.width", 8, "--trainer.max_epochs", 1]
    assert lit_cifar("fit", "--model.variant", "Swish", *small, *on_pictures)[0] == 0
    Path("takes_over.py").write_text(
        "import variants\n\nclass Other(variants.Swish):\n    'Other.'\n\n"
        "    def __init__(self, *, extra: int = 3, more: int = 4, depth: int = 20, width: int = 100) -> None:\n"
        "        super().__init__(depth=depth, width=width)\n        self.extra, self.more = extra, more\n"
    )
    best = "logs/fit/Swish/version_0/checkpoints/best.ckpt"
    named = ["--model.variant", "takes_over.Other", "--model.variant.extra", 5]
    code, _, err = lit_cifar("validate", "--ckpt_path", best, *named, *on_pictures)
    assert code == 0, err
    assert (
        "The checkpoint's variant is variants.swish.Swish; using takes_over.Other. From the checkpoint: depth=2, "
        "width=8; as given: extra=5; by default: more=4; not taken over: scaling='standardize'.\n"
    ) in err
    code, _, err = lit_cifar("validate", "--ckpt_path", best, "--model.variant", "Swish", *on_pictures)
    assert code == 0
    assert "The checkpoint's variant" not in err


def test_a_new_variant_keeps_every_promise_at_once(lit_cifar: Run, workspace: Path) -> None:
    code, out, err = lit_cifar("variants", "new", "MyFirstVariant")
    assert code == 0, err
    assert "lit-cifar fit --model.variant my_first_variant.MyFirstVariant" in out
    code, out, err = lit_cifar("variants", "check", "my_first_variant.MyFirstVariant", "--quick")
    assert code == 0, out + err


def test_in_a_checkout_it_goes_where_it_is_found_by_name(
    lit_cifar: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("variants").mkdir()
    monkeypatch.setattr(variants, "__file__", str(workspace / "variants/__init__.py"))
    code, out, err = lit_cifar("variants", "new", "MyReLU")
    assert code == 0, err
    assert "lit-cifar variants check MyReLU" in out
    assert Path("variants/my_re_lu.py").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Selu", "taken by 'SELU' from lit-cifar 0.1.0 (variants.selu)"),
        ("my_variant", "'my_variant' is no name for a variant"),
        ("None", "'None' is no name"),
        ("../Escape", "is no name"),
        ("Torch", "torch.py would hide the module 'torch'"),
    ],
)
def test_names_that_are_refused(lit_cifar: Run, workspace: Path, name: str, message: str) -> None:
    code, _, err = lit_cifar("variants", "new", name)
    assert code != 0
    assert message in err
    assert not list(workspace.iterdir())


def test_a_file_that_exists_is_left_alone(lit_cifar: Run, workspace: Path) -> None:
    Path("my_variant.py").write_text("mine")
    code, _, err = lit_cifar("variants", "new", "MyVariant")
    assert code != 0
    assert "my_variant.py exists and is left alone" in err
    assert Path("my_variant.py").read_text() == "mine"


@pytest.mark.slow
def test_the_new_files_own_test_passes(lit_cifar: Run, workspace: Path) -> None:
    lit_cifar("variants", "new", "MyTested")
    pytest_run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my_tested.py"]
    result = subprocess.run(pytest_run, capture_output=True, text=True, check=False)  # noqa: S603
    assert "1 passed" in result.stdout, result.stdout


def test_a_new_package_has_all_files(lit_cifar: Run, workspace: Path) -> None:
    code, out, err = lit_cifar("variants", "new", "MySoftSign", "--package")
    assert code == 0, err
    package = Path("lit-cifar-my-soft-sign")
    assert f"pip install --editable './{package}[test]'" in out
    files = sorted(str(path.relative_to(package)) for path in package.rglob("*") if path.is_file())
    assert files == [
        ".github/workflows/test.yml",
        "README.md",
        "lit_cifar_my_soft_sign.py",
        "pyproject.toml",
        "tests/test_my_soft_sign.py",
    ]
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["lit_cifar.variants"] == {"MySoftSign": "lit_cifar_my_soft_sign:MySoftSign"}
    workflow = yaml.safe_load((package / ".github/workflows/test.yml").read_text())
    assert workflow["jobs"]["test"]["steps"][1]["with"] == {"python-version": "${{ matrix.python }}"}
    code, _, err = lit_cifar("variants", "new", "MySoftSign", "--package")
    assert code == 1
    assert "lit-cifar-my-soft-sign exists and is left alone" in err


@pytest.mark.slow
def test_a_new_package_installed_elsewhere_passes_its_tests(lit_cifar: Run, workspace: Path) -> None:
    lit_cifar("variants", "new", "MyPackaged", "--package")
    package = workspace / "lit-cifar-my-packaged"
    python = install(package, workspace / "environment")
    found = json.loads(python("-m", "lit_cifar", "variants", "--json", "MyPackaged").stdout)["variants"]
    assert [variant["origin"]["package"] for variant in found] == ["lit-cifar-my-packaged"]
    (package / "lit_cifar_my_packaged.py").unlink()  # the installed one is meant
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", package)
    assert done.returncode == 0, done.stdout
    assert f"{len(CHECKS) + 1} passed" in done.stdout

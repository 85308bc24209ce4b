"""The example package works when it is installed, and its checkpoints say what to install when it isn't."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lit_cifar.conformance import CHECKS
from tests.installed import ROOT, Run, install

EXAMPLE = ROOT / "examples/lit-cifar-maxout"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, because building it leaves files behind."""
    return Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("package") / EXAMPLE.name))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Run:
    """Runs Python in an environment that has this one's packages and the example package."""
    return install(package, tmp_path_factory.mktemp("environment"))


@pytest.mark.slow
def test_the_variant_is_found_by_name(python: Run, workspace: Path) -> None:
    result = python("-m", "lit_cifar", "variants", "--json", "maxout")
    (found,) = json.loads(result.stdout)["variants"]
    assert found["origin"] == {"package": "lit-cifar-maxout", "version": "0.1.0", "module": "lit_cifar_maxout"}
    assert found["hyperparameters"]["pieces"] == 2
    assert not result.stderr


@pytest.mark.slow
def test_the_tests_of_the_package_pass(python: Run, package: Path, workspace: Path) -> None:
    result = python("-m", "pytest", "-q", "-p", "no:cacheprovider", package)
    assert result.returncode == 0, result.stdout
    assert f"{len(CHECKS) + 3} passed" in result.stdout


@pytest.mark.slow
def test_a_checkpoint_names_the_missing_package(
    python: Run, lit_cifar: Callable[..., tuple[int, str, str]], on_pictures: list[object], workspace: Path
) -> None:
    small = ["--model.variant.depth", 2, "--model.variant.width", 16, "--trainer.max_epochs", 2]
    fitted = python("-m", "lit_cifar", "fit", "--model.variant", "Maxout", *small, *on_pictures)
    assert fitted.returncode == 0, fitted.stderr
    best = "logs/fit/Maxout/version_0/checkpoints/best.ckpt"
    tested = python("-m", "lit_cifar", "test", "--ckpt_path", best, *on_pictures)
    assert tested.returncode == 0, tested.stderr
    assert "accuracy" in tested.stdout
    code, _, err = lit_cifar("test", "--ckpt_path", best, *on_pictures)
    assert code != 0
    assert "pip install 'lit-cifar-maxout==0.1.0'" in err


RECIPES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_20_layers_of_100_units_to_the_end_of_its_schedule(
    recipe: Path,
    lit_cifar: Callable[..., tuple[int, str, str]],
    on_pictures: list[object],
    workspace: Path,
    no_figures: None,
) -> None:
    code, _, err = lit_cifar("fit", "--config", recipe, *on_pictures, "--trainer.max_epochs", 1)
    assert code == 0, err
    config = yaml.safe_load(Path("logs/fit/Residual/version_0/config.yaml").read_text())
    hidden = config["model"]["variant"]["init_args"]
    assert (hidden["depth"], hidden["width"]) == (20, 100)
    assert config["early_stopping"]["patience"] == yaml.safe_load(recipe.read_text())["trainer"]["max_epochs"]


def test_there_are_recipes_with_and_without_augmentation() -> None:
    augmented = {path.stem: "data" in yaml.safe_load(path.read_text()) for path in RECIPES}
    assert augmented == {"best": True, "best_without_augmentation": False}

"""The Python interface: what `import lit_cifar` offers."""

from __future__ import annotations

import doctest
import inspect
import multiprocessing
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

import lit_cifar
import variants
from lit_cifar.data.normalization import Scale
from lit_cifar.data.sources.synthetic import SyntheticSource
from lit_cifar.lr_find.curve import read_curve
from lit_cifar.lr_find.search import ConfirmRun, LearningRateSearch
from lit_cifar.utils.errors import UserError

FACE = [
    "CIFAR10DataModule",
    "Comparison",
    "LitClassifier",
    "TestResult",
    "TrainingResult",
    "Variant",
    "compare",
    "find_learning_rate",
    "fit",
    "mc_predict",
    "predict",
    "test",
    "trainer",
]
EXAMPLES = ("evaluation", "search", "training", pytest.param("comparison", marks=pytest.mark.slow))
CPU = {"accelerator": "cpu"}


@pytest.fixture
def few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The synthetic set with few images."""
    sizes = {"train_size": 500, "test_size": 50, "seed": 0}
    monkeypatch.setattr(SyntheticSource.__init__, "__kwdefaults__", sizes)


@pytest.fixture
def data(pictures: Path) -> lit_cifar.CIFAR10DataModule:
    return lit_cifar.CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)


def small(name: str) -> variants.Variant:
    return variants.get(name)(depth=2, width=16)  # type: ignore[call-arg]


def test_the_public_names() -> None:
    assert lit_cifar.__all__ == FACE == sorted(FACE)
    assert set(FACE) <= set(dir(lit_cifar))
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        lit_cifar.train  # noqa: B018


def test_an_untrained_network_is_refused(data: lit_cifar.CIFAR10DataModule) -> None:
    with pytest.raises(UserError, match="trained"):
        lit_cifar.test(lit_cifar.LitClassifier(small("ELU")), data, **CPU)


@pytest.mark.parametrize("name", FACE)
def test_every_public_name_is_documented_and_typed(name: str) -> None:
    thing = getattr(lit_cifar, name)
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        assert all(p.annotation is not p.empty for p in inspect.signature(thing).parameters.values())


def test_importing_lit_cifar_does_not_import_torch() -> None:
    code = "import sys, lit_cifar; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603


@pytest.mark.usefixtures("few_shapes", "no_figures", "workspace")
@pytest.mark.parametrize("module", EXAMPLES)
def test_the_examples_in_docstrings(module: str) -> None:
    found = doctest.testmod(import_module(f"lit_cifar.api.{module}"))
    assert found.attempted > 3
    assert found.failed == 0


@pytest.mark.usefixtures("no_figures", "workspace")
def test_fit_test_and_predict(data: lit_cifar.CIFAR10DataModule, pictures: Path) -> None:
    trained = lit_cifar.fit(small("AlphaDropout"), data, max_epochs=3, progress=False, **CPU)
    assert trained.folder == Path("logs/fit/AlphaDropout/version_0")
    assert trained.best_epoch == trained.history["val/loss"].argmin() + 1
    best = torch.load(trained.checkpoint)["state_dict"]
    assert all(torch.equal(value, best[name]) for name, value in trained.model.state_dict().items())
    assert f"{trained.best_epoch} of 3" in repr(trained)
    assert "AlphaDropout(rate=0.1" in repr(trained)
    assert "data:image/png" in trained._repr_html_()

    tested = lit_cifar.test(trained, mc_samples=5, **CPU)
    assert tested.evaluation["images"] == 24
    assert tested.scores.loc["accuracy"].between(0.5, 1).all()
    assert {"confusion_matrix", "reliability", "samples"} <= set(tested.figures)
    assert tested._repr_html_().count("<img") == 2

    again = lit_cifar.test(trained.checkpoint, **CPU)  # which knows its data
    assert again.evaluation["data_source"] == data.data_source
    predictions = lit_cifar.predict(trained.checkpoint, pictures / "test", **CPU)
    assert (predictions["label"] == predictions["prediction"]).mean() == tested.scores.at[
        "accuracy", "one pass, no dropout"
    ]
    one = lit_cifar.predict(trained, pictures / "test/cat/0000.png", **CPU)
    pd.testing.assert_series_equal(one["probability_cat"], predictions["probability_cat"][:1], rtol=1e-4)


@pytest.mark.usefixtures("no_figures", "workspace")
def test_the_same_call_gives_the_same_network(data: lit_cifar.CIFAR10DataModule) -> None:
    first, second = (lit_cifar.fit(small("SELU"), data, max_epochs=1, progress=False, **CPU) for _ in range(2))
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])


@pytest.mark.usefixtures("workspace")
def test_a_trainer_has_our_defaults_and_the_users_callbacks() -> None:
    mine = EarlyStopping("train/loss")
    trainer = lit_cifar.trainer(patience=7, callbacks=mine, progress=False, max_epochs=2, **CPU)
    stops = trainer.early_stopping_callbacks
    assert [(stop.monitor, stop.patience) for stop in stops] == [("val/loss", 7), ("train/loss", 3)]
    assert any(isinstance(callback, ModelCheckpoint) for callback in trainer.callbacks)


@pytest.mark.usefixtures("no_figures", "workspace")
def test_compare_gives_tables_and_pictures(data: lit_cifar.CIFAR10DataModule) -> None:
    runs = {"thin": variants.get("SELU")(depth=2, width=4), "wide": small("SELU")}  # type: ignore[call-arg]
    found = lit_cifar.compare(runs, data, seeds=2, max_epochs=1, progress=False)
    assert list(found.results["run"]) == ["thin", "wide"] * 2
    assert found.verdicts.loc[0, "question"] == "Is wide better than thin?"
    difference = found.summary.set_index("run")["test_acc"].diff().iloc[1]
    assert found.verdicts.loc[0, "effect"] == pytest.approx(difference, abs=1e-5)  # rows are rounded
    assert found.report.is_file()
    assert "Is wide better than thin?" in repr(found)
    html = found._repr_html_()
    assert html.count("<img") == 2
    assert f"{100 * difference:+.2f} points".replace("-", "−") in html
    assert "<th>test accuracy</th>" in html


class Mine(variants.DenseVariant):
    """Defined in a notebook, as far as its module's name goes."""

    def hidden_block(self, dense: torch.nn.Linear, index: int) -> list[torch.nn.Module]:
        return [dense]


@pytest.mark.usefixtures("workspace")
def test_mistakes_say_what_to_do(data: lit_cifar.CIFAR10DataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(variants.VariantError, match="Did you mean 'SELU'"):
        lit_cifar.fit("SLU", data)
    with pytest.raises(UserError, match="mc_samples=-1 is no number of samples"):
        lit_cifar.test(lit_cifar.LitClassifier(small("ELU")), data, mc_samples=-1)
    with pytest.raises(UserError, match="give different variants"):
        lit_cifar.compare(["ELU", "elu"], data)
    with pytest.raises(UserError, match=r"compare\(epochs=…\): there is no such argument; use one of .*max_epochs"):
        lit_cifar.compare(["ELU", "SELU"], data, epochs=3)
    with pytest.raises(UserError, match=r"learning_rate=0.1 is an argument of LitClassifier: give LitClassifier\("):
        lit_cifar.fit("SELU", data, learning_rate=0.1)
    with pytest.raises(UserError, match=r"epochs=2: there is no such argument. Did you mean max_epochs\?"):
        lit_cifar.fit("SELU", data, epochs=2)
    with pytest.raises(UserError, match="mc_sample=2: there is no such argument. Did you mean mc_samples"):
        lit_cifar.test(lit_cifar.LitClassifier(small("ELU")), data, mc_sample=2)
    with pytest.raises(UserError, match="max_epochs='two' is no whole number"):
        lit_cifar.fit("SELU", data, max_epochs="two")  # type: ignore[arg-type]
    for function in (lit_cifar.fit, lit_cifar.find_learning_rate, lit_cifar.compare):
        with pytest.raises(UserError, match="data='pictures' is no CIFAR10DataModule. For pictures in folders give"):
            function("SELU", "pictures")  # type: ignore[operator]
    with pytest.raises(UserError, match=r"variant=SELU is a class: give an object of it, SELU\(\)"):
        lit_cifar.fit(variants.SELU, data)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="confirm=-3 is negative"):
        lit_cifar.find_learning_rate("SELU", data, confirm=-3)
    with pytest.raises(ValueError, match="depth='five' is no number"):
        variants.SELU(depth="five")
    for option in ({"logger": False}, {"logger": True}, {"fast_dev_run": True}):
        with pytest.raises(UserError, match="leave out logger=… and fast_dev_run=…"):
            lit_cifar.fit("SELU", data, progress=False, **option, **CPU)
    assert not Path("logs").exists(), "nothing has been trained"
    monkeypatch.setattr(Mine, "__module__", "__main__")
    with pytest.raises(UserError, match="worker processes can't import it"):
        lit_cifar.compare({"mine": Mine()}, data, workers=2)
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)  # as in a new worker
    with pytest.raises(UserError, match="In the script, call it below `if __name__ == "):
        lit_cifar.compare(["ELU", "SELU"], data, workers=2)


def test_things_that_are_no_network_or_pictures(data: lit_cifar.CIFAR10DataModule) -> None:
    with pytest.raises(UserError, match="A NoneType is no trained network: give what `fit` returned"):
        lit_cifar.test(None, data)  # type: ignore[arg-type]
    model = lit_cifar.LitClassifier(small("ELU"))
    model.build(("a", "b"), Scale.empty((3, 32, 32)))
    with pytest.raises(UserError, match="pictures is a list: give the path of a folder of pictures"):
        lit_cifar.predict(model, [1])  # type: ignore[arg-type]


def test_numbers_that_can_not_be(data: lit_cifar.CIFAR10DataModule) -> None:
    with pytest.raises(UserError, match="max_epochs=0 is too small"):
        lit_cifar.fit("SELU", data, max_epochs=0)
    with pytest.raises(UserError, match="learning_rate=2 is an argument of LitClassifier"):
        lit_cifar.fit("SELU", data, lr=2)
    with pytest.raises(UserError, match="workers=-1 is negative"):
        lit_cifar.compare(["ELU", "SELU"], data, workers=-1)


def test_a_search_prints_its_learning_rate_and_the_short_runs() -> None:
    losses = [2.3 - 0.01 * n for n in range(40)]
    curve = read_curve([1e-5 * 1.2**n for n in range(40)], losses)
    search = LearningRateSearch(curve, (ConfirmRun(1e-3, 1.5, 0.4), ConfirmRun(1e-4, 1.9, 0.3)))
    assert repr(search).splitlines() == [
        "learning rate 0.001",
        "0.001: validation loss 1.5000, accuracy 40.0%",
        "0.0001: validation loss 1.9000, accuracy 30.0%",
    ]


def test_objects_print_what_they_are(data: lit_cifar.CIFAR10DataModule, pictures: Path) -> None:
    folder = str(pictures)
    assert repr(data) == f"CIFAR10DataModule(source='folder', data_dir={folder!r}, batch_size=16, val_size=30)"
    assert str(data) == repr(data)
    assert "ELU(depth=2, width=16, scaling='standardize'), learning_rate=" in repr(
        lit_cifar.LitClassifier(small("ELU"))
    )

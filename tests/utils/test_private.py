"""Without a private part of another library, results are the same; a warning names the part."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.cli import LightningCLI
from torch import nn

import lit_cifar
import variants
from lit_cifar.commands import help  # noqa: A004 - the command line's help
from lit_cifar.commands.lightning import LitCifarCLI
from lit_cifar.data.datamodule import CIFAR10DataModule
from lit_cifar.speed import fused_nadam, short_epoch_loop
from lit_cifar.training.module import LitClassifier
from lit_cifar.uncertainty import mc_predict
from lit_cifar.utils import module_hooks, private
from lit_cifar.utils.parser import command_parsers

PARTS = {
    "lightning.pytorch.loops.training_epoch_loop": "_TrainingEpochLoop",
    "lightning.pytorch.loops.fetchers": "_DataFetcher",
    "lightning.pytorch.loops.optimization.automatic": "ClosureResult",
    "torch": "_fused_adam_",
    "torch._inductor.pattern_matcher": "register_graph_pattern",
    "torch._inductor.custom_graph_pass": "CustomGraphPass",
}


def weights(pictures: Path, *, compiled: bool = False) -> torch.Tensor:
    seed_everything(0, verbose=False)
    data = CIFAR10DataModule(source="folder", data_dir=str(pictures), val_size=30, batch_size=16)
    model = LitClassifier(variants.get("AlphaDropout")(depth=2, width=8), compile=compiled)
    Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, precision="64-true",
    ).fit(model, datamodule=data)  # fmt: skip
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No warning has been given yet, and the modules that training imports late are not imported."""
    monkeypatch.setattr(private, "_warned", set())
    for module in ("short_epoch_loop", "inductor_passes"):
        monkeypatch.delitem(sys.modules, f"lit_cifar.speed.{module}", raising=False)

    def trace(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        return function

    monkeypatch.setattr(torch, "compile", trace)


def warned_of(pictures: Path, name: str, *, compiled: bool) -> torch.Tensor:
    """Train twice, check that there was one warning in all, and return the weights."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, again = weights(pictures, compiled=compiled), weights(pictures, compiled=compiled)
    messages = [str(w.message) for w in caught if "no longer exists" in str(w.message)]
    assert len(messages) == 1, messages
    assert name in messages[0]
    assert torch.equal(found, again)
    return found


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("module", PARTS)
def test_training_goes_on_without_a_private_part(module: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = "inductor" in module
    expected = weights(pictures, compiled=compiled)
    for late in ("short_epoch_loop", "inductor_passes"):
        monkeypatch.delitem(sys.modules, f"lit_cifar.speed.{late}", raising=False)
    monkeypatch.delattr(f"{module}.{PARTS[module]}")
    torch.testing.assert_close(warned_of(pictures, PARTS[module], compiled=compiled), expected, rtol=1e-9, atol=1e-12)


def test_training_goes_on_where_a_trainer_lacks_something(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = weights(pictures)
    monkeypatch.setattr(private, "_warned", set())
    monkeypatch.setattr(short_epoch_loop, "PARTS", ("fit_loop.epoch_loop.batch_progress", "_renamed.on_batch_end"))
    assert torch.equal(warned_of(pictures, "Trainer._renamed.on_batch_end", compiled=False), expected)


def test_the_step_runs_eagerly_where_hooks_cannot_be_seen(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = weights(pictures)
    monkeypatch.setattr(private, "_warned", set())
    monkeypatch.setattr(module_hooks, "PARAMETER", ("_renamed_hooks",))
    assert torch.equal(warned_of(pictures, "torch's _renamed_hooks", compiled=True), expected)


def test_samples_are_the_same_where_hooks_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Dropout(0.5), nn.Linear(6, 2))
    images = torch.randn(9, 3, 2, 2)
    expected = mc_predict(network, images, samples=7).probabilities
    monkeypatch.setattr(private, "_warned", set())
    monkeypatch.setattr(module_hooks, "FORWARD", ("_renamed_hooks",))
    with pytest.warns(UserWarning, match="_renamed_hooks no longer exists") as warned:
        found = mc_predict(network, images, samples=7).probabilities
    assert len(warned) == 1
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("path", ["torch:_fused_adam_", "torch:_foreach_lerp_", "torch.optim:NAdam._init_group"])
def test_nadam_takes_torchs_steps_where_torch_has_renamed_something(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_nadam, "private", lambda name, without: name != path and private.private(name, without))
    ours, theirs = (torch.full((3,), 2.0, requires_grad=True) for _ in range(2))
    for p, kind in ((ours, fused_nadam.FusedNAdam), (theirs, torch.optim.NAdam)):
        optimizer = kind([p], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (p**2).sum().backward()
            optimizer.step()
    assert torch.equal(ours, theirs)


def test_help_and_errors_are_plainer_where_argparse_has_renamed_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "_warned", set())
    parser: Any = SimpleNamespace()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        help.arrange(parser)
        found = command_parsers(parser)
    assert found == {}
    assert [str(warning.message).partition(" ")[0] for warning in warned] == [
        "argparse.ArgumentParser._action_groups",
        "argparse.ArgumentParser._actions",
    ]


def test_the_command_line_works_where_lightning_has_renamed_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "_warned", set())
    monkeypatch.setattr(sys, "argv", ["lit-cifar"])
    monkeypatch.delattr(LightningCLI, "_parse_ckpt_path")
    with pytest.warns(UserWarning, match="LightningCLI._parse_ckpt_path no longer"), pytest.raises(SystemExit):
        LitCifarCLI(["fit", "--help"])


GUARDED = {
    "_TrainingEpochLoop": "short_epoch_loop.py",
    "_DataFetcher": "short_epoch_loop.py",
    "_logger_connector": "short_epoch_loop.py",
    "_num_ready_batches_reached": "short_epoch_loop.py",
    "_current_fx_name": "short_epoch_loop.py",
    "_inductor": "inductor_passes.py",
    "_init_group": "fused_nadam.py",
}
"""Private names of other libraries that the code uses as attributes or imports, and the only file that does."""

PUBLIC = {"_replace", "_exit"}
"""Names with an underscore that the documentation of Python describes."""


def test_private_names_of_other_libraries_are_guarded_and_used_in_one_place() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources()}
    own = {name for tree in trees.values() for name in defined(tree)}
    found = {(name, path.name) for path, tree in trees.items() for name in private_names(tree) if name not in own}
    assert found == set(GUARDED.items())


def sources() -> Iterator[Path]:
    for package in (lit_cifar, variants):
        yield from Path(str(package.__file__)).parent.rglob("*.py")


def defined(tree: ast.Module) -> Iterator[str]:
    """The names of functions, classes and variables that a file defines; attributes only of `self` and `cls`."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr


def private_names(tree: ast.Module) -> Iterator[str]:
    """The names with one leading underscore that a file reads as attributes or imports."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.append(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names += [*(node.module or "").split("."), *(alias.name for alias in node.names)]
    yield from (name for name in names if re.match("_[^_]", name) and name not in PUBLIC)

"""Finding variants by name, and what happens when a plugin is broken or a name is taken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from torch import nn

import variants
from variants import DenseVariant, VariantError, registry

BUILT_IN = ["AlphaDropout", "BatchNorm", "ELU", "SELU", "Swish", "SwishBatchNorm", "SwishDropout"]


@pytest.fixture(autouse=True)
def untouched_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test registers is gone after it."""
    for name in ("_classes", "_origins", "_broken"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    yield
    registry.load_plugins.cache_clear()


def make(name: str) -> type[DenseVariant]:
    def hidden_block(self: DenseVariant, dense: nn.Linear, index: int) -> list[nn.Module]:
        return [dense, nn.ReLU()]

    return type(name, (DenseVariant,), {"hidden_block": hidden_block, "__module__": "somewhere", "__doc__": f"{name}."})


def entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str) -> None:
    """Install a plugin: a module in a folder, and an entry point that names it."""
    (tmp_path / "a_plugin.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_plugin", raising=False)
    found = EntryPoint("Leaky", "a_plugin:Leaky", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "_entry_points", lambda: iter([found]))
    registry.load_plugins.cache_clear()


def test_built_ins_are_there() -> None:
    assert set(BUILT_IN) <= set(variants.available())
    assert variants.available("s*") == ["SELU", "Swish", "SwishBatchNorm", "SwishDropout"]
    assert variants.get("selu") is variants.get("SELU")
    assert str(variants.origin("SELU")).startswith("lit-cifar 0.1.0")


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(VariantError, match="Did you mean 'BatchNorm'") as caught:
        variants.get("BatchNrm")
    assert all(name in str(caught.value) for name in BUILT_IN)


def test_registering_again_is_nothing() -> None:
    before = variants.available()
    variants.register(variants.get("SELU"))
    assert variants.available() == before


def test_a_taken_name_is_an_error_that_names_both_origins() -> None:
    with pytest.raises(VariantError, match=r"somewhere.*lit-cifar 0\.1\.0 \(variants\.selu\)"):
        variants.register(make("Selu"))


def test_entry_point_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = "from torch import nn\nfrom variants import DenseVariant\n\n"
    source += (
        "class Leaky(DenseVariant):\n    def hidden_block(self, dense, index):\n        return [dense, nn.ReLU()]\n"
    )
    entry_point(monkeypatch, tmp_path, source)
    variant = variants.get("Leaky")(depth=2)
    assert "Leaky" in variants.available()
    assert variants.from_spec(variants.to_spec(variant)) == variant


def test_a_broken_plugin_breaks_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry_point(monkeypatch, tmp_path, "1 / 0")
    assert set(BUILT_IN) <= set(variants.available())
    assert capsys.readouterr().err.count("\n") == 1
    assert [plugin.name for plugin in variants.broken()] == ["Leaky"]
    with pytest.raises(VariantError, match="ZeroDivisionError") as caught:
        variants.get("Leaky")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import sys\nsys.exit('no licence')", "SystemExit: no licence"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("class Leaky: pass", "'a_plugin:Leaky' is neither a variant nor a module"),
    ],
)
def test_all_kinds_of_breakage_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, reason: str
) -> None:
    entry_point(monkeypatch, tmp_path, source)
    assert "Leaky" not in variants.available()
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("\n") == 1


def test_a_spec_resolves_through_the_registry_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    spec = {"class_path": "evil.Evil", "init_args": {}, "distribution": "", "version": ""}
    with pytest.raises(VariantError, match=r"--model\.variant evil\.Evil"):
        variants.from_spec(spec)
    with pytest.raises(VariantError, match="pip install 'lit-cifar-evil==1.0'"):
        variants.from_spec({**spec, "distribution": "lit-cifar-evil", "version": "1.0"})

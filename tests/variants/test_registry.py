"""Finding variants by name, and what happens when a plugin is broken or a name is taken."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import pytest
from jsonargparse import ArgumentParser
from torch import nn

import variants
from variants import DenseVariant, Variant, VariantError, registry

BUILT_IN = ["AlphaDropout", "BatchNorm", "ELU", "SELU", "Swish", "SwishBatchNorm", "SwishDropout"]


@pytest.fixture(autouse=True)
def untouched_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test registers is gone after it."""
    for name in ("_classes", "_origins", "_broken"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    yield
    registry._load_plugins.cache_clear()


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
    registry._load_plugins.cache_clear()


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
    with pytest.raises(VariantError, match=r"variant=evil\.Evil\(\)"):
        variants.from_spec(spec)
    with pytest.raises(VariantError, match="pip install 'lit-cifar-evil==1.0'"):
        variants.from_spec({**spec, "distribution": "lit-cifar-evil", "version": "1.0"})


LEAKY = """
from torch import nn
from variants import DenseVariant

class Leaky(DenseVariant):
    '{doc}'

    def hidden_block(self, dense, index):
        return [dense, nn.LeakyReLU()]
"""


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, packages: dict[str, str], names: Sequence[str] = ()) -> None:
    """Install packages, each a module with an entry point for the class Leaky, or for each of the names."""
    found = []
    for package, source in packages.items():
        module = package.replace("-", "_")
        (folder / f"{module}.py").write_text(source)
        monkeypatch.delitem(sys.modules, module, raising=False)
        for name in names or ["Leaky"]:
            entry = EntryPoint(name, f"{module}:{name}", registry.ENTRY_POINT_GROUP)
            vars(entry).update(dist=SimpleNamespace(name=package, version="1.0"))
            found.append(entry)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(registry, "_entry_points", lambda: iter(found))
    registry._load_plugins.cache_clear()


@pytest.mark.parametrize("order", list(permutations(["a-first", "b-second"])))
def test_of_two_packages_with_one_name_the_first_in_the_alphabet_wins(
    order: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, tmp_path, {package: LEAKY.format(doc=f"Of {package}.") for package in order})
    assert variants.get("Leaky").description() == "Of a-first."
    assert capsys.readouterr().err == (
        "lit-cifar: the variant plugin 'Leaky' from b-second 1.0 (b_second) can't be used: VariantError: The variant "
        "name 'Leaky' from b_second is taken by 'Leaky' from a-first 1.0 (a_first). Names are unique, ignoring case: "
        "rename the new class.\n"
    )
    parser = ArgumentParser()
    parser.add_argument("--variant", type=Variant)
    parsed = parser.instantiate(parser.parse_args(["--variant=Leaky", "--variant.depth=2"])).variant
    assert parsed == variants.get("Leaky")(depth=2)
    other = parser.instantiate(parser.parse_args(["--variant=b_second.Leaky"])).variant
    assert other.description() == "Of b-second."


def test_a_module_with_many_entry_points_breaks_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, tmp_path, {"many": "1 / 0"}, names=[f"Variant{index}" for index in range(16)])
    variants.available()
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "16 plugins 'Variant0', 'Variant1'" in err
    assert len(variants.broken()) == 16


def test_classes_are_attributes_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from variants import ELU

    assert ELU is variants.get("ELU")
    assert variants.SELU(depth=5).depth == 5
    install(monkeypatch, tmp_path, {"a-first": LEAKY.format(doc="Leaky.")})
    assert variants.Leaky is variants.get("Leaky")
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = variants.Nothing


def test_a_plugin_may_use_a_variant_and_ask_for_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = "import variants\nfrom variants import ELU\nvariants.available()\n"
    source += "try:\n    variants.Missing\nexcept AttributeError:\n    pass\n"
    install(monkeypatch, tmp_path, {"a-first": f"{source}class Leaky(ELU):\n    'Leaky.'\n"})
    assert "Leaky" in variants.available()
    assert not variants.broken()


BASE = "class Odd(BaseException):\n    pass\nraise Odd('no')"
MUTE = "class Mute(Exception):\n    def __str__(self):\n        raise ValueError\nraise Mute"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (BASE, "Odd: no"),
        (MUTE, "Mute: (its message raises ValueError)"),
        ("raise ValueError('\\x1b[31mred\\x1b[0m \\x07bell')", "ValueError: [31mred [0m bell"),
        ("import sys\nprint('hello')\nsys.stdout.close()\n1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_plugins_that_misbehave_are_one_printable_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, reason: str
) -> None:
    install(monkeypatch, tmp_path, {"odd": source})
    assert "ELU" in variants.available()
    out, err = capsys.readouterr()
    assert err.endswith(f"can't be used: {reason}\n")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert not out
    print("still open")
    assert capsys.readouterr().out == "still open\n"


def test_an_interrupt_while_plugins_are_imported_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, {"slow": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        variants.available()


@pytest.fixture
def renamed() -> type[Variant]:
    """A class that has been renamed, as has a hyperparameter, whose unit has changed as well."""

    @variants.register
    class Renamed(variants.ELU):
        """Renamed."""

        aliases = ("old_package.Old",)

        def __init__(self, *, negative_slope: float = 0.01, **dense: object) -> None:
            super().__init__(**dense)
            self.negative_slope = negative_slope

        @classmethod
        def migrate(cls, init_args: dict[str, object], version: str) -> dict[str, object]:
            if version.startswith("1."):
                init_args["negative_slope"] = init_args.pop("percent") / 100
            return init_args

    registry._origins["Renamed"] = variants.Origin("new-package", "2.0", "new_package")
    return Renamed


def spec_of(class_path: str, version: str = "1.0", **init_args: object) -> dict[str, object]:
    return {"class_path": class_path, "init_args": init_args, "distribution": "old-package", "version": version}


def test_renamed_classes_and_hyperparameters_are_migrated(renamed: type[Variant]) -> None:
    found = variants.from_spec(spec_of("old_package.Old", percent=20, depth=3))
    assert found == renamed(negative_slope=0.2, depth=3)
    assert variants.from_spec(variants.to_spec(found)) == found


def test_what_is_not_migrated_is_one_line_that_names_both_versions(renamed: type[Variant]) -> None:
    spec = spec_of("old_package.Old", "0.9", percent=20, depth=3)
    with pytest.raises(VariantError) as caught:
        variants.from_spec(spec)
    assert str(caught.value) == (
        "The variant Renamed was saved by old-package 0.9; here is new-package 2.0, and it doesn't take percent. It "
        "takes negative_slope, depth, width, scaling. Name the variant and its new values yourself, and the others are "
        "taken over: variant=Renamed(…)"
    )
    recalled = variants.recall(spec, renamed)
    assert recalled.init_args == {"depth": 3}
    assert recalled.unknown == {"percent": 20}


def test_a_value_that_is_refused_today_is_one_line(renamed: type[Variant]) -> None:
    with pytest.raises(VariantError, match=r"here is new-package 2\.0, and depth=0 is too small"):
        variants.from_spec(spec_of("old_package.Old", "2.0", depth=0))

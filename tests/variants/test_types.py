"""Hyperparameters of every type: on the command line, in checkpoints, in TensorBoard's table and in studies."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import variants
from variants import registry

Run = Callable[..., tuple[int, str, str]]

SOURCE = '''
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, Optional

from torch import nn
from variants import DenseVariant, register


class Kind(Enum):
    soft = 0.1
    hard = 0.0


@dataclass
class Noise:
    size: float = 0.0
    kinds: tuple[Kind, ...] = (Kind.soft,)


@register
class Typed(DenseVariant):
    """Takes every type.

    Args:
        text: A string.
        count: A whole number.
        slope: A number.
        bias: Whether.
        place: A choice.
        limit: A number or nothing.
        widths: A list.
        pair: A tuple.
        table: A dictionary.
        kind: An enum.
        file: A path.
        noise: A dataclass.
        either: One of two types.
    """

    def __init__(
        self,
        *,
        text: str = "a b",
        count: int = 1,
        slope: float = 0.1,
        bias: bool = True,
        place: Literal["first", "last"] = "last",
        limit: Optional[float] = None,
        widths: list[int] = [3, 4],
        pair: tuple[int, float] = (1, 0.5),
        table: dict[str, float] = {"a": 1.0},
        kind: Kind = Kind.soft,
        file: Path = Path("none"),
        noise: Noise = Noise(),
        either: int | str = 3,
        depth: int = 2,
        width: int = 4,
    ) -> None:
        super().__init__(depth=depth, width=width)
        self.text, self.count, self.slope, self.bias, self.place = text, count, slope, bias, place
        self.limit, self.widths, self.pair, self.table = limit, widths, pair, table
        self.kind, self.file, self.noise, self.either = kind, file, noise, either

    def hidden_block(self, dense, index):
        assert isinstance(self.kind, Kind) and isinstance(self.noise, Noise) and isinstance(self.file, Path)
        assert isinstance(self.pair, tuple) and isinstance(self.noise.kinds, tuple)
        return [dense, nn.LeakyReLU(self.slope)]
'''

TYPED = {
    "text": "c d",
    "count": 2,
    "slope": 1e-3,
    "bias": "false",
    "place": "first",
    "limit": 0.5,
    "widths": "[5, 6]",
    "pair": "[2, 0.25]",
    "table": '{"b": 2.0}',
    "kind": "hard",
    "file": "some/file",
    "noise.size": 0.5,
    "either": "three",
}


@pytest.fixture(autouse=True)
def typed(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with the variant, and the registry as it was afterwards."""
    for name in ("_classes", "_origins", "_broken"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.setattr(sys, "path", [str(workspace), *sys.path])
    monkeypatch.delitem(sys.modules, "every_type", raising=False)
    (workspace / "every_type.py").write_text(SOURCE)
    return "every_type.Typed"


def test_every_type_survives_a_checkpoint(typed: str) -> None:
    from every_type import Kind, Noise, Typed

    values = {"kind": Kind.hard, "file": Path("x"), "noise": Noise(2.0, (Kind.hard, Kind.soft)), "pair": (3, 0.1)}
    for variant in (Typed(), Typed(**values), Typed(limit=1.5, either="x", widths=[])):
        spec = variants.to_spec(variant)
        assert json.loads(json.dumps(spec)) == spec
        assert variants.from_spec(spec) == variant
        assert type(variants.from_spec(spec).noise.kinds) is tuple


def test_every_type_works_in_fit_and_test(
    typed: str, lit_cifar: Run, on_pictures: list[object], no_figures: None
) -> None:
    given = [word for name, value in TYPED.items() for word in (f"--model.variant.{name}", value)]
    code, _, err = lit_cifar("fit", "--model.variant", typed, *given, "--trainer.max_epochs", 1, *on_pictures)
    assert code == 0, err
    config = yaml.safe_load(Path("logs/fit/Typed/version_0/config.yaml").read_text())
    written = config["model"]["variant"]["init_args"]
    assert written["kind"] == "hard"
    assert written["noise"]["size"] == 0.5
    best = "logs/fit/Typed/version_0/checkpoints/best.ckpt"
    code, _, err = lit_cifar("test", "--ckpt_path", best, *on_pictures)
    assert code == 0, err
    code, _, err = lit_cifar("test", "--ckpt_path", best, "--model.variant", typed, *on_pictures)
    assert code == 0, err
    assert "The checkpoint's variant" not in err
    code, _, err = lit_cifar("fit", "--ckpt_path", best.replace("best", "last"), "--trainer.max_epochs", 2)
    assert code == 0, err


def test_every_type_works_in_a_study(typed: str, lit_cifar: Run, pictures: Path) -> None:
    init_args = {name: yaml.safe_load(str(value)) for name, value in TYPED.items() if "." not in name}
    init_args |= {"noise": {"size": 0.5, "kinds": ["hard"]}}
    study = {
        "title": "Types",
        "seeds": 1,
        "protocol": {"max_epochs": 1, "batch_size": 16, "val_size": 30},
        "runs": {
            "typed": {"model": {"variant": {"class_path": typed, "init_args": init_args}}},
            "plain": {"model": {"variant": {"class_path": "ELU", "init_args": {"depth": 2, "width": 4}}}},
        },
        "questions": [{"ask": "Is it better?", "treatment": "typed", "baseline": "plain"}],
    }
    Path("types.yaml").write_text(yaml.safe_dump(study))
    data = ["--data.source", "folder", "--data.data_dir", pictures]
    code, out, err = lit_cifar("compare", "--study", "types.yaml", "--workers", 0, "--output", "out", *data)
    assert code == 0, out + err
    assert Path("out/results.csv").read_text().count(",ok,") == 2


def test_what_has_no_plain_form_is_an_error_that_names_it() -> None:
    class Odd(variants.get("ELU")):
        """Takes a function."""

        def __init__(self, *, function: object = print) -> None:
            super().__init__()
            self.function = function

    with pytest.raises(TypeError, match="function: a builtin_function_or_method has no plain form"):
        variants.to_spec(Odd())

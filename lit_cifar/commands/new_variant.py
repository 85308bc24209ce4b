"""`lit-cifar variants new`: a file to start a variant from, which already works."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

import variants
from lit_cifar.utils.errors import UserError

TEMPLATE = '''\
"""{name}: what the technique is, and why it should help."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from variants import DenseVariant, register


@register
class {name}(DenseVariant):
    """Leaky ReLU on He-initialized weights: describe your technique here, in one line.

    Args:
        slope: Slope for negative inputs. On the command line it is `--model.variant.slope 0.2`.
        **dense: Depth, width and scaling, as in `DenseVariant`.
    """

    learning_rate = 3e-4  # lit-cifar lr-find --model.variant {spelled} --confirm 5
    reference = "The paper or page that it comes from"

    def __init__(self, *, slope: float = 0.1, **dense: Any) -> None:
        super().__init__(**dense)
        self.slope = slope

    def hidden_block(self, dense: nn.Linear, index: int) -> Sequence[nn.Module]:
        return [dense, nn.LeakyReLU(self.slope)]


def test_slope_reaches_every_layer() -> None:
    network = {name}(depth=3, slope=0.2).build((3, 32, 32), 10)
    assert [m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)] == [0.2] * 3
'''


def new_variant(name: str, folder: Path) -> str:
    """Write a variant's file and return what to type next.

    In a checkout the file goes into `variants/`, where it is found by name; elsewhere into the folder itself.

    Raises:
        UserError: if the name isn't a class name, is taken, or the file exists or would hide another module.
    """
    check_name(name)
    package = Path(variants.__file__).parent
    in_checkout = (folder / "variants").resolve() == package.resolve()
    stem = snake_case(name)
    path = folder / ("variants" if in_checkout else "") / f"{stem}.py"
    if not in_checkout and not path.exists() and importlib.util.find_spec(stem):
        raise UserError(f"{path.name} would hide the module {stem!r}: take another name.")
    spelled = name if in_checkout else f"{stem}.{name}"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.format(name=name, spelled=spelled))
    except FileExistsError:
        raise UserError(f"{path} exists and is left alone: take another name, or move it away.") from None
    return (
        f"Wrote {path}. Next:\n"
        f"  lit-cifar variants check {spelled}\n"
        f"  lit-cifar fit --model.variant {spelled}\n"
        f"  python -m pytest {path}"
    )


def snake_case(name: str) -> str:
    """The name of a class as that of its module."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def check_name(name: str) -> None:
    """Refuse what is no class name, or is the name of a registered variant."""
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name) or keyword.iskeyword(name):
        raise UserError(f"{name!r} is no name for a variant: use a Python class name like MyVariant.")
    taken = [known for known in variants.available() if known.lower() == name.lower()]
    if taken:
        raise UserError(f"The variant name {name!r} is taken by {taken[0]!r} from {variants.origin(taken[0])}.")

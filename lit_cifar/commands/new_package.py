"""`lit-cifar variants new --package`: a package with a variant, its tests and a workflow, ready to be published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lit_cifar.commands.new_variant import TEMPLATE, check_name, snake_case
from lit_cifar.utils.errors import UserError

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{package}"
version = "0.1.0"
description = "{name} as a variant for lit_cifar."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["lit-cifar"]

[project.optional-dependencies]
test = ["pytest>=8.3"]

# The name on the left is only shown if the plugin can't be imported; a variant is called like its class.
[project.entry-points."lit_cifar.variants"]
{name} = "{module}:{name}"

[tool.setuptools]
py-modules = ["{module}"]

[tool.pytest.ini_options]
testpaths = ["tests"]
"""

README = """\
# {package}

{name} for lit_cifar: say here what the technique is, and which paper it comes from.

```
pip install {package}
lit-cifar variants check {name}
lit-cifar fit --model.variant {name}
lit-cifar compare --variants ELU,{name} --quick
```

To work on it: `pip install --editable .[test]`, then `python -m pytest`. To publish it: raise `version` in
`pyproject.toml`, then `python -m build` and `python -m twine upload dist/*`.
"""

TESTS = '''\
"""{name} works in everything that lit_cifar does, and is what its paper says."""

import pytest
from torch import nn

from lit_cifar.conformance import CHECKS
from {module} import {name}


@pytest.mark.parametrize("check", CHECKS)
def test_conforms(check) -> None:
    check({name})


def test_slope_reaches_every_layer() -> None:
    network = {name}(depth=3, slope=0.2).build((3, 32, 32), 10)
    assert [m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)] == [0.2] * 3
'''

WORKFLOW = """\
name: Test
on:
  push:
    branches: [main]
  pull_request:
permissions:
  contents: read
jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      matrix:
        python: ["3.11", "3.14"]
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: ${{{{ matrix.python }}}}
      - run: python -m pip install --editable .[test]
      - run: python -m pytest
      - run: lit-cifar variants check {name}
"""


def new_package(name: str, folder: Path) -> str:
    """Write a package's folder and return what to type next.

    Raises:
        UserError: If the name isn't a class name or is taken, or the folder exists.
    """
    check_name(name)
    stem = snake_case(name)
    names = {"name": name, "module": f"lit_cifar_{stem}", "package": f"lit-cifar-{stem.replace('_', '-')}"}
    target = folder / names["package"]
    if target.exists():
        raise UserError(f"{target} exists and is left alone: take another name, or move it away.")
    for path, content in _files(names).items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(content, encoding="utf-8")
    return (
        f"Wrote {target}/. Next:\n"
        f"  pip install --editable './{target}[test]'\n"
        f"  lit-cifar variants check {name}\n"
        f"  python -m pytest {target}"
    )


def _files(names: Mapping[str, str]) -> dict[str, str]:
    variant, _, _ = TEMPLATE.partition("\n\ndef test_")
    return {
        "pyproject.toml": PYPROJECT.format(**names),
        "README.md": README.format(**names),
        f"{names['module']}.py": variant.format(name=names["name"], spelled=names["name"]).rstrip() + "\n",
        f"tests/test_{names['module'].removeprefix('lit_cifar_')}.py": TESTS.format(**names),
        ".github/workflows/test.yml": WORKFLOW.format(**names),
    }

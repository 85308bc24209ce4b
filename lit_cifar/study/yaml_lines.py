"""Reading YAML so that an error can name the line of a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any

import yaml

from lit_cifar.utils.errors import UserError

LARGEST_FILE = 100_000
"""The most entries that a file may have with its anchors written out."""


class LinedMapping(dict[str, Any]):
    """A mapping from a YAML file that remembers the lines of its keys."""

    lines: Mapping[str, int] = {}
    line: int = 1


def read_yaml(text: str, source: str) -> Any:
    """The content of a YAML text; its mappings are `LinedMapping`.

    Args:
        text: The YAML text.
        source: What errors call the file.

    Raises:
        UserError: if it is not valid YAML, has a key twice, or is too large. The message names the line.
    """
    try:
        loader = _LineLoader(text)
        node = loader.get_single_node()
        if _unfolded_size(node, {}) > LARGEST_FILE:
            raise UserError(
                f"{source}: its anchors unfold to more than {LARGEST_FILE} entries. Write out what is meant."
            )
        return loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{source}, line {line}: this is not YAML: {error.problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # impossible characters, dates or depths
        raise UserError(f"{source}: this is not YAML: {' '.join(str(error).split())}.") from error


def line_of(content: Any, path: Sequence[str | int]) -> int:
    """The line where the value at `path` stands, or that of the nearest mapping around it."""
    line = 1
    for part in path:
        if isinstance(content, LinedMapping):
            line = content.lines.get(str(part), content.line)
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            break
        if isinstance(content, LinedMapping) and isinstance(part, int):
            line = content.line
    return line


def plain(value: Any) -> Any:
    """The same content as plain dictionaries and lists."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


class _LineLoader(yaml.SafeLoader):
    pass


def _construct_mapping(loader: _LineLoader, node: yaml.MappingNode) -> Iterator[LinedMapping]:
    mapping = LinedMapping()
    yield mapping
    mapping.lines = _lines_of_keys(node)
    mapping.line = node.start_mark.line + 1
    mapping.update({str(key): value for key, value in loader.construct_mapping(node, deep=True).items()})


def _lines_of_keys(node: yaml.MappingNode) -> dict[str, int]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if str(key.value) in lines and key.value != "<<":
            first = lines[str(key.value)]
            raise yaml.MarkedYAMLError(
                problem=f"the key {key.value!r} is given twice, first in line {first}", problem_mark=key.start_mark
            )
        lines[str(key.value)] = key.start_mark.line + 1
    return lines


_LineLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def _unfolded_size(node: yaml.Node | None, known: dict[int, float]) -> float:
    """The number of entries when every anchor is written out; infinite if an anchor contains itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = inf
        children = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_unfolded_size(child, known) for child in children)
    return known[id(node)]

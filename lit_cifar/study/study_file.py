"""Studies from YAML files. A mistake is one line that names the file, the line and the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lit_cifar.study.schema import Changes, Protocol, Question, Run, Study
from lit_cifar.study.shipped import study_text
from lit_cifar.study.yaml_lines import LinedMapping, line_of, plain, read_yaml
from lit_cifar.utils.errors import UserError

SECTIONS: Mapping[str, tuple[type[BaseModel], int]] = {
    "protocol": (Protocol, 1),
    "runs": (Run, 2),
    "questions": (Question, 2),
    "quick": (Changes, 1),
}
"""The keys of a study's sections, and their depth in the file."""

NOT_IN_FILES = ("name", "is_quick", "former_name")


def load_study(name_or_path: str) -> Study:
    """Read a study: a shipped one by its name, or a YAML file.

    Raises:
        UserError: If there is none, or naming the file, line and key that are wrong.
    """
    text, source, name = study_text(name_or_path)
    return parse_study(text, source=source, name=name)


def parse_study(text: str, *, source: str, name: str) -> Study:
    """Turn a study's YAML text into a Study.

    Args:
        text: The YAML text.
        source: What errors call the file.
        name: The study's name.

    Raises:
        UserError: naming the line and key that are wrong.
    """
    content = read_yaml(text, source)
    if not isinstance(content, LinedMapping):
        raise UserError(f"{source}: expected a mapping of {', '.join(_keys(Study))}.")
    for key in NOT_IN_FILES:
        if key in content:
            raise UserError(f"{source}, line {line_of(content, [key])}, {key}: {_unknown_key([key])}.")
    try:
        return Study.model_validate({**plain(content), "name": name})
    except ValidationError as error:
        place, problem = first_problem(error)
        keys = [part for part in place if isinstance(part, str)]
        where = f", {keys[-1]}" if keys else ""
        raise UserError(f"{source}, line {line_of(content, place)}{where}: {problem}.") from error


def first_problem(error: ValidationError) -> tuple[Sequence[str | int], str]:
    """The keys that lead to the first wrong value, and what is wrong with it in words."""
    errors = sorted(error.errors(include_url=False), key=lambda found: found["type"] == "missing")
    first = _place(errors[0])
    if errors[0]["type"] == "missing":  # there is only the line of what it is missing from
        return first[:-1], f"{first[-1]} is missing"
    return first, _in_words([found for found in errors if _place(found) == first], first)


def _place(error: ErrorDetails) -> list[str | int]:
    """The keys of a value, without the names that pydantic adds for the choices of a union and for keys."""
    place = [part for part in error["loc"] if part != "[key]"]
    while len(place) > 1 and isinstance(place[-1], str) and _is_choice(place[-1]):
        place.pop()
    return [*place, *error.get("ctx", {}).get("at", ())]


def _is_choice(part: str) -> bool:
    return part in ("int", "float", "bool", "str") or part.startswith(("literal[", "constrained-", "function-"))


def _in_words(errors: Sequence[ErrorDetails], place: Sequence[str | int]) -> str:
    kind, value = errors[0]["type"], errors[0]["input"]
    if kind == "extra_forbidden":
        return _unknown_key(place)
    if not errors[0]["msg"].startswith("Input "):
        return errors[0]["msg"]
    expected = " or ".join(error["msg"].removeprefix("Input should be ") for error in errors)
    hint = " (write 1.0e-3, with a point)" if isinstance(value, str) and _is_number(value) else ""
    return f"{value!r} should be {expected}{hint}"


def _unknown_key(place: Sequence[str | int]) -> str:
    kind, depth = SECTIONS.get(str(place[0]), (Study, 0))
    return f"unknown key; use one of {', '.join(_keys(kind if len(place) > depth else Study))}"


def _keys(kind: type[BaseModel]) -> list[str]:
    return [key for key in kind.model_fields if key not in NOT_IN_FILES or kind is not Study]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

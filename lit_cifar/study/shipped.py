"""The texts of studies: of those that come with lit_cifar, and of files. It imports nothing slow."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import NamedTuple

from lit_cifar.utils.errors import UserError
from lit_cifar.utils.suggestions import did_you_mean


class StudyText(NamedTuple):
    """A study as YAML.

    Args:
        text: The YAML text.
        source: What errors call the file.
        name: The study's name.
    """

    text: str
    source: str
    name: str


def shipped_studies() -> list[str]:
    """The names of the studies that come with lit_cifar."""
    folder = resources.files("lit_cifar.study") / "studies"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def study_text(name_or_path: str) -> StudyText:
    """Read a study's text: a shipped one by its name, or a YAML file.

    Raises:
        UserError: If there is none.
    """
    shipped = shipped_studies()
    if name_or_path in shipped:
        file = resources.files("lit_cifar.study") / "studies" / f"{name_or_path}.yaml"
        return StudyText(file.read_text(encoding="utf-8"), f"{name_or_path}.yaml", name_or_path)
    path = Path(name_or_path)
    try:
        return StudyText(path.read_text(encoding="utf-8", errors="replace"), str(path), path.stem)
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        meant = did_you_mean(name_or_path, shipped)
        raise UserError(
            f"There is no study {name_or_path!r}.{meant} Give a YAML file or one of {', '.join(shipped)}."
        ) from error

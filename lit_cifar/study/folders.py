"""The folder of a study: one for each study, mode and data."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lit_cifar.data.sources import without_remark
from lit_cifar.study.finished import finished
from lit_cifar.study.plan import folder_name, plan_runs, plan_searches
from lit_cifar.study.schema import Study
from lit_cifar.study.study_data import StudyData
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import write_text

STUDIES = Path("logs/compare")
OWNER = "study.json"
"""The file in a study's folder that says whose folder it is."""


def default_folder(study: Study, data: StudyData) -> Path:
    """`logs/compare/<study>[-quick][-<data>]`, or the folder that version 0.1.0 used if the study was begun there."""
    mode = "quick" if study.is_quick else ""
    folder = STUDIES / folder_name("-".join(filter(None, (study.name, mode, data.label))))
    former = STUDIES / "-".join(filter(None, (study.former_name or study.name, mode)))
    if folder != former and not folder.exists() and _was_begun_in(former, study, data):
        return former
    return folder


def _was_begun_in(folder: Path, study: Study, data: StudyData) -> bool:
    """Whether this study was begun in a folder by an earlier version, and perhaps continued there since."""
    if not (folder / "runs").is_dir():
        return False
    if (owner := _owner(folder / OWNER)) is not None:
        return bool(owner == _identity(study, data))
    wanted = [*plan_runs(study, data.arguments, seeds=[0]), *plan_searches(study, data.arguments)]
    found = [finished(run, folder) for run in wanted]
    return any(result and not result.changed for result in found)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the study's folder against another `compare`; however a process ends, the kernel releases its lock.

    Raises:
        UserError: naming the process that holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise UserError(f"The study can't be written to {str(folder)!r}: {error}. Use another folder.") from error
    holder = folder / ".lock.pid"
    try:
        with FileLock(folder / ".lock", timeout=1):
            write_text(holder, f"{os.getpid()} on {platform.node()}")
            yield
    except Timeout as error:
        process = holder.read_text(encoding="utf-8") if holder.is_file() else "unknown"  # it is written after locking
        raise UserError(
            f"Another study is at work in {folder} (process {process}): wait for it, or choose another folder, folder=…"
        ) from error


def claim(folder: Path, study: Study, data: StudyData) -> None:
    """Note whose folder it is.

    Raises:
        UserError: if it belongs to another study, to another mode of it, or to other data.
    """
    owner, path = _identity(study, data), folder / OWNER
    if (found := _owner(path)) not in (None, owner):
        raise UserError(
            f"{folder} belongs to another study ({_in_words(found)}), not to {_in_words(owner)}. Its results would be "
            "overwritten: choose another folder, folder=…"
        )
    write_text(path, json.dumps(owner, indent=1))


def _identity(study: Study, data: StudyData) -> dict[str, Any]:
    """The content of `study.json`; synthetic images are the same whether they were asked for or stand in for others."""
    return {"study": study.name, "quick": study.is_quick, "data": without_remark(data.name)}


def _owner(path: Path) -> Any:
    """What `study.json` says; None if it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.keys() != {"study", "quick", "data"}:
        return None
    return {**content, "data": without_remark(str(content["data"]))}


def _in_words(owner: dict[str, Any]) -> str:
    return f"{owner['study']}{', quick' if owner['quick'] else ''}, on {owner['data']}"

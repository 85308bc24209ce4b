"""The last checkpoint, which another program may have open."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lit_cifar.callbacks.last_checkpoint import LastCheckpoint
from lit_cifar.utils import files


def test_windows_waits_for_a_program_that_has_the_checkpoint_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, replace = [PermissionError(13, "Access is denied")], Path.replace

    def refuse_once(path: Path, target: Path) -> Path:
        if refusals:
            raise refusals.pop()
        return replace(path, target)

    trainer: Any = SimpleNamespace(is_global_zero=True)
    module: Any = None
    callback = LastCheckpoint()
    callback.path = tmp_path / "last.ckpt"
    callback._pending().write_text("new")
    monkeypatch.setattr(files, "WAITS_ON_WINDOWS", (0,))
    monkeypatch.setattr(Path, "replace", refuse_once)
    callback.on_train_end(trainer, module)
    assert not refusals
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]

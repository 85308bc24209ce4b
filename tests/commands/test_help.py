"""What `--help` prints."""

from __future__ import annotations

import re

import pytest

from tests.commands.small_runs import Run


def test_help_starts_with_what_matters(lit_cifar: Run, capfd: pytest.CaptureFixture[str]) -> None:
    usages = {
        "fit": "[--trainer.max_epochs N] [options]\n\nTrain one variant",
        "lr-find": "[options]\n\nSearch a learning rate",
    }
    for command, usage in usages.items():
        with pytest.raises(SystemExit):
            lit_cifar(command, "--help")
        out = capfd.readouterr().out
        assert out.startswith(f"usage: lit-cifar {command} --model.variant NAME {usage}")
        headings = [line for line in out.splitlines() if re.fullmatch(r"[A-Z][^.]*:", line)]
        assert headings[:4] == ["Model:", "Data:", "Early stopping:", "Checkpoint:"]
        assert headings[-1] == "Trainer (Lightning's):"
        assert "Disabled by default" not in out.split("--trainer.max_epochs")[1].split("--trainer.min_epochs")[0]

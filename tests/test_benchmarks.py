"""That the benchmarks run and time the right thing; not what they find, which depends on the machine."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.pace import Loop, Paced, in_turns

ROOT = Path(__file__).parents[1]


def test_a_paced_contender_works_only_while_it_is_timed() -> None:
    log: list[str] = []

    def train(tick) -> None:
        for epoch in range(5):
            tick()
            log.append(f"paced {epoch}")
            time.sleep(0.05)

    found = in_turns({"loop": Loop(lambda: log.append("loop")), "paced": Paced(train)}, repeats=2)
    assert log == ["loop", "paced 0", "loop", "paced 1", "loop", "paced 2"]
    assert found["loop"] < 0.05 <= found["paced"]


def test_what_goes_wrong_in_a_contender_is_raised() -> None:
    def train(tick) -> None:
        tick()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Paced(train).epoch()


@pytest.mark.slow
def test_benchmarks_run_and_write_their_report(tmp_path: Path) -> None:
    report = tmp_path / "results.md"
    sections = ["training", "variants", "growth"]
    command = [sys.executable, "-m", "benchmarks", "--images", "500", "--repeats", "1", "--only", *sections]
    subprocess.run([*command, "--output", report], cwd=ROOT, check=True, timeout=500)  # noqa: S603
    text = report.read_text()
    assert text.count("| a plain torch loop |") == 3
    assert "| ELU | " in text
    assert "| depth | 5: " in text

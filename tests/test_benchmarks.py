"""The benchmarks run and time the right thing. Their results depend on the machine and are not tested."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks import __main__ as benchmarks
from benchmarks import gpu, replicas
from benchmarks.contenders import command
from benchmarks.pace import ROOT, BudgetSpentError, Contender, in_turns, median_ratio, on_gpu_seconds

COUNTER = """
import sys, time
from benchmarks.pace import Tick
tick = Tick()
for epoch in range(int(sys.argv[1])):
    tick()
    print("not heard")
    open(sys.argv[2], "a").write(f"{sys.argv[3]} {epoch}, ")
    time.sleep(0.05)
tick()
"""


def counter(epochs: int, log: Path, name: str) -> list[object]:
    return [sys.executable, "-c", COUNTER, epochs, log, name]


@pytest.mark.slow
def test_contenders_work_in_turns_and_only_while_they_are_timed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = in_turns({name: counter(3, log, name) for name in ("a", "b")}, repeats=2)
    assert log.read_text() == "a 0, b 0, a 1, b 1, a 2, b 2, "
    assert all(len(seconds) == 2 and min(seconds) >= 0.05 and max(seconds) < 5 for seconds in found.values())


@pytest.mark.gpu
def test_a_gpu_is_busy_for_a_part_of_an_epoch() -> None:
    busy = command("plain-loop", 5000, 128, 1)
    with Contender(busy) as contender:
        contender.epoch()
        assert 0.01 * contender.epoch() < contender.busy() < contender.epoch()


def test_only_what_runs_on_the_gpu_keeps_it_busy() -> None:
    def event(device: DeviceType, microseconds: int) -> SimpleNamespace:
        return SimpleNamespace(device_type=device, time_range=SimpleNamespace(elapsed_us=lambda: microseconds))

    found = [event(DeviceType.CUDA, 3000), event(DeviceType.CPU, 500_000), event(DeviceType.CUDA, 5000)]
    assert on_gpu_seconds(found) == 0.008


def test_a_slow_round_does_not_change_the_ratio() -> None:
    assert median_ratio([1.0, 10.0, 1.2], [2.0, 20.0, 2.0]) == 0.5


def test_a_contender_that_fails_says_why() -> None:
    with Contender([sys.executable, "-c", "1 / 0"]) as contender, pytest.raises(RuntimeError, match="ZeroDivision"):
        contender.epoch()


SLEEPER = "import time; from benchmarks.pace import Tick; tick = Tick(); tick(); time.sleep(60); tick()"


def test_contenders_stop_when_their_time_is_over() -> None:
    with pytest.raises(BudgetSpentError):
        in_turns({"sleeper": [sys.executable, "-c", SLEEPER]}, repeats=1, budget=0.5)


def test_a_gpu_section_says_what_its_budget_has_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def over(*_: object, **__: object) -> dict[str, list[float]]:
        raise BudgetSpentError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    options = argparse.Namespace(images=500, threads=1, repeats=1, gpu_seconds=7.0)
    for module, section in ((gpu, gpu.on_gpu), (replicas, replicas.replicas)):
        monkeypatch.setattr(module, "in_turns", over)
        rows = [line for line in section(options) if line.startswith(("| 128 ", "| 512 ", "| 2048 "))]
        assert rows
        assert all("left out: 7 s were over" in line for line in rows)


def test_each_line_is_printed_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def section(_: argparse.Namespace) -> Iterator[str]:
        yield "first row"
        assert capsys.readouterr().out.endswith("\n\nfirst row\n")
        yield "second row"

    monkeypatch.setitem(benchmarks.SECTIONS, "start-up", section)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "start-up"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    benchmarks.main()
    assert capsys.readouterr().out == "second row\n"


def test_replicas_are_rated_by_the_time_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "in_turns", lambda commands, *_, **__: {name: [2.0] for name in commands})
    options = argparse.Namespace(images=500, threads=1, repeats=1, gpu_seconds=7.0)
    lines = list(replicas.replicas(options))
    assert "| 32 | ELU | a single run | 2.00 | 2000.0 | 1.00 |  |" in lines
    assert "| 128 | ELU | a stack of 8 | 2.00 | 250.0 | 8.00 |  |" in lines


@pytest.mark.slow
def test_benchmarks_run_and_write_their_report(tmp_path: Path) -> None:
    report = tmp_path / "results.md"
    sections = ["training", "variants", "growth", "gpu", "replicas"]
    command = [sys.executable, "-m", "benchmarks", "--images", "500", "--repeats", "1", "--only", *sections]
    subprocess.run([*command, "--output", report], cwd=ROOT, check=True, timeout=500)  # noqa: S603
    text = report.read_text()
    assert text.count("| a plain torch loop |") == 3
    assert "| ELU | " in text
    assert "| depth | 5: " in text
    assert "## On a GPU" in text
    assert text.count("| a stack of 32 |") == 2

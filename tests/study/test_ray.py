"""Runs on a Ray cluster."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.study.tiny_study import Run, results


@pytest.mark.slow
def test_a_ray_cluster_of_two_workers_gives_the_same_results(
    lit_cifar: Run, arguments: list[object], workspace: Path
) -> None:
    pytest.importorskip("ray")
    options = [str(argument) for argument in arguments]
    command = [sys.executable, "-m", "lit_cifar", "compare", *options]
    subprocess.run([*command, "--ray", "local", "--workers", "2", "--output", "on_ray"], check=True, timeout=300)  # noqa: S603
    assert lit_cifar("compare", *arguments, "--workers", 0, "--output", "here")[0] == 0
    pd.testing.assert_frame_equal(results(workspace / "on_ray"), results(workspace / "here"))
    written = [
        sorted(path.relative_to(folder) for path in folder.rglob("*") if not path.name.startswith("events"))
        for folder in (workspace / "on_ray/runs", workspace / "here/runs")
    ]
    assert written[0] == written[1]


def test_ray_is_asked_for_where_it_is_missing(
    lit_cifar: Run, arguments: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = lit_cifar("compare", *arguments, "--ray", "auto")
    assert code == 1
    assert "pip install 'lit-cifar[ray]'" in err


def test_a_cluster_that_is_not_there_is_noticed_before_any_work(
    lit_cifar: Run, arguments: list[object], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # Ray itself would try for more than a minute
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert "Ray is not installed" in lit_cifar("compare", *arguments, "--ray", address)[2]
    code, out, err = lit_cifar("compare", *arguments, "--ray", address, "--output", "nothing")
    assert (code, out) == (1, "")
    assert re.fullmatch(f"lit-cifar: error: No Ray cluster answers at '{address}': .*refused.*\n", err)
    assert not (workspace / "nothing").exists()

"""Several addresses are measured side by side, and the fastest is tried first."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lit_cifar.data.sources.cifar10 import CIFAR10Source
from lit_cifar.data.sources.race import fastest_first

Serve = Callable[..., Any]
NOBODY = "http://127.0.0.1:9/cifar-10-python.tar.gz"


def test_the_fastest_address_comes_first_and_is_named(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    slow, broken, fast = serve(piece=500, pause=0.05), serve(status=404), serve()
    assert fastest_first([slow.url, NOBODY, broken.url, fast.url], seconds=0.5) == [
        fast.url,
        slow.url,
        NOBODY,
        broken.url,
    ]
    assert f"The fastest of 4 addresses is {fast.url}: " in capsys.readouterr().err


def test_an_address_that_never_answers_delays_no_longer_than_the_measurement(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lit_cifar.data.sources.race.GRACE", 0.1)
    silent, fast = serve(pause=20), serve()
    started = time.monotonic()
    assert fastest_first([silent.url, fast.url], seconds=0.3) == [fast.url, silent.url]
    assert time.monotonic() - started < 5


def test_a_single_address_is_not_asked(serve: Serve) -> None:
    server = serve()
    assert fastest_first([server.url]) == [server.url]
    assert server.asked == []


def test_without_a_network_the_order_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert fastest_first([NOBODY, NOBODY + "2"]) == [NOBODY, NOBODY + "2"]
    assert capsys.readouterr().err == ""


def test_the_archive_comes_from_the_fastest_mirror(serve: Serve, fake: Any, tmp_path: Path) -> None:
    slow, fast = serve(piece=500, pause=0.05), serve()
    source = CIFAR10Source(tmp_path / "data", urls=[slow.url, fast.url], archive=fake.archive)
    assert (source.train().images.numpy() == fake.images(*fake.archive.train)).all()
    assert len(fast.asked) == 2, "once to measure, once for the archive"
    assert len(slow.asked) == 1

"""Find the fastest of several addresses of one file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from http.client import HTTPException
from queue import Empty, Queue
from threading import Thread

from lit_cifar.data.sources.download import CHUNK, open_url
from lit_cifar.utils.console import say

SECONDS = 3.0
"""How long the speeds are measured."""

GRACE = 1.0
"""Seconds that a thread may be late."""

ENOUGH = 8 * CHUNK
"""Bytes after which an address has shown its speed."""


def fastest_first(urls: Sequence[str], seconds: float = SECONDS) -> list[str]:
    """Order addresses by how fast they send the beginning of their file, measured side by side.

    Addresses that send nothing in that time come last, in their own order.

    Args:
        urls: The addresses. A single one isn't asked.
        seconds: How long the speeds are measured.
    """
    if len(urls) < 2:
        return list(urls)
    speeds = _speeds(urls, seconds)
    ordered = sorted(urls, key=lambda url: -speeds.get(url, 0.0))
    if fastest := speeds.get(ordered[0]):
        say(f"The fastest of {len(urls)} addresses is {ordered[0]}: {fastest / 1000:.0f} kB/s.")
    return ordered


def _speeds(urls: Sequence[str], seconds: float) -> dict[str, float]:
    """Bytes per second of each address that has answered in time."""
    found: Queue[tuple[str, float]] = Queue()
    for url in urls:
        Thread(target=lambda url=url: found.put((url, _speed(url, seconds))), daemon=True).start()
    deadline = time.monotonic() + seconds + GRACE
    speeds: dict[str, float] = {}
    while len(speeds) < len(urls):
        try:
            url, speed = found.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:  # a server that lets its headers drip; its thread is left alone
            break
        speeds[url] = speed
    return speeds


def _speed(url: str, seconds: float) -> float:
    """Bytes per second, the wait for the first one included; 0 if the address can't be used."""
    started, received = time.monotonic(), 0
    try:
        with open_url(url, 0, seconds) as response:
            while received < ENOUGH and time.monotonic() - started < seconds and (chunk := response.read1(CHUNK)):
                received += len(chunk)
    except (OSError, HTTPException, ValueError):
        return 0.0
    return received / max(time.monotonic() - started, 1e-3)

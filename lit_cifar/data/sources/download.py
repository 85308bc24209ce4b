"""Download one file whose md5 is known: from several addresses, resuming what is there, leaving slow ones."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from lit_cifar import __version__
from lit_cifar.utils.console import progress_bar
from lit_cifar.utils.errors import UserError

CHUNK = 1 << 18


class DownloadError(UserError):
    """No address gave the file."""


class TooSlowError(TimeoutError):
    """An address works, but would take longer than allowed."""


@dataclass(frozen=True)
class Patience:
    """How long to bear with an address, in seconds.

    Args:
        silence: Without a connection, or without another byte, for this long: leave the address.
        total: Leave it as well once the time spent plus the time expected for the rest (at the speed so far) is longer.
        trial: How long the speed is measured before anything is expected of it.
    """

    silence: float
    total: float = math.inf
    trial: float = 3.0


QUICK = Patience(silence=5, total=300)
PATIENT = Patience(silence=30)


def download(urls: Sequence[str], target: Path, md5: str, rounds: Sequence[Patience] = (QUICK, PATIENT)) -> None:
    """Download `target` from the first address that gives a file with this md5.

    Each round tries the addresses in order; later rounds only those that were too slow before. What was received is
    kept as `<target>.part` and continued by the next attempt, the next start included, but removed if it proves wrong.

    Raises:
        DownloadError: if no address gave the file; the message has a line for each.
    """
    part = target.with_name(target.name + ".part")
    problems: dict[str, Exception] = {}
    left = urls
    for patience in rounds:
        for url in left:
            problem = _attempt(url, part, md5, patience)
            if problem is None:
                part.replace(target)
                return
            problems[url] = problem
        left = [url for url in left if isinstance(problems[url], TimeoutError)]
    raise DownloadError("\n".join(f"  {url}: {problem}" for url, problem in problems.items()) or "  no address given")


def md5_of(path: Path) -> str:
    """The md5 of a file, as hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _attempt(url: str, part: Path, md5: str, patience: Patience) -> Exception | None:
    """Complete the partial file from one address and check it; return what went wrong, if anything."""
    try:
        if not part.exists() or md5_of(part) != md5:
            _fetch(url, part, patience)
    except URLError as error:
        return error.reason if isinstance(error.reason, Exception) else error
    except (OSError, HTTPException) as error:
        return error
    found = md5_of(part)
    if found == md5:
        return None
    part.unlink()
    return ValueError(f"what it sent is not the official file (md5 {found}, not {md5}); it was removed")


def _fetch(url: str, part: Path, patience: Patience) -> None:
    """Receive the rest of the file, connecting again after a cut as long as each connection brings something."""
    started = time.monotonic()
    while True:
        before = _size(part)
        try:
            return _receive(url, part, patience, started)
        except TooSlowError:
            raise
        except (OSError, HTTPException):
            if _size(part) <= before:
                raise


def _receive(url: str, part: Path, patience: Patience, started: float) -> None:
    """Append what one connection gives to the partial file; start it anew if the server can't resume."""
    with _open(url, _size(part), patience.silence) as response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        had = _size(part) if resumed else 0
        total = None if response.length is None else had + response.length
        connected, received = time.monotonic(), 0
        with (
            part.open("ab" if resumed else "wb") as file,
            progress_bar(f"Downloading {url}", total, in_bytes=True) as bar,
        ):
            bar(had)
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                bar(len(chunk))
                received += len(chunk)
                _check_pace(patience, started, connected, received, response.length or 0)
        if response.length:
            raise ConnectionError(f"the connection was cut off, {response.length} bytes before the end")


def _open(url: str, start: int, silence: float) -> HTTPResponse:
    """Ask for the file from byte `start` on, or for all of it where the server says that it ends before that."""
    headers = {"User-Agent": f"lit_cifar/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return cast(HTTPResponse, urlopen(Request(url, headers=headers), timeout=silence))  # noqa: S310 - checked: http(s)
    except HTTPError as error:
        error.close()
        if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _open(url, 0, silence)
        raise


def _check_pace(patience: Patience, started: float, connected: float, received: int, rest: int) -> None:
    now = time.monotonic()
    spent = now - connected
    if spent < patience.trial:
        return
    seconds_left = rest * spent / received
    if now - started + seconds_left > patience.total:
        speed = received / spent / 1000
        raise TooSlowError(f"too slow: {seconds_left / 60:.0f} more minutes at {speed:.0f} kB/s")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

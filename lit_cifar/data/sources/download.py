"""Downloads a file of known size from one of several addresses. Continues partial downloads and skips slow hosts."""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from lit_cifar import __version__
from lit_cifar.utils.console import progress_bar, say
from lit_cifar.utils.errors import UserError
from lit_cifar.utils.files import replaced_when_complete

CHUNK = 1 << 18


class DownloadError(UserError):
    """No address has given the file."""


class TooSlowError(TimeoutError):
    """An address works but is too slow.

    Args:
        message: The error message.
        speed: Bytes per second.
    """

    def __init__(self, message: str, speed: float = 0.0) -> None:
        super().__init__(message)
        self.speed = speed


class WrongFileError(ValueError):
    """An address sends another file."""


@dataclass(frozen=True)
class File:
    """The expected file. Anything else is deleted.

    Args:
        md5: Its md5 as hexadecimal digits; None if it is unknown and the reader checks the content.
        size: Its size in bytes.
    """

    md5: str | None
    size: int


@dataclass(frozen=True)
class Patience:
    """Time limits for an address, in seconds.

    Args:
        silence: Longest time without an answer or without another byte.
        total: Longest time for the whole download, as estimated from the speed so far.
        trial: How long the speed is measured before the first estimate.
    """

    silence: float
    total: float = math.inf
    trial: float = 3.0


QUICK = Patience(silence=5, total=300)
PATIENT = Patience(silence=30, total=4 * 3600)
"""For CIFAR-10's official host, which takes 40 minutes. Hosts that stall are skipped."""


def download(
    urls: Sequence[str], target: Path, file: File, part: Path, rounds: Sequence[Patience] = (QUICK, PATIENT)
) -> None:
    """Download `target` from the first address that gives this file.

    Each round tries the addresses in order; later rounds only those that were too slow before, the fastest first.
    A partial download is kept and continued by the next attempt, also after a restart. A wrong file is removed.
    All attempts together take no longer than the longest `total` of the rounds.

    Args:
        urls: Addresses to try.
        target: Path of the file. An existing file is replaced, a link is not followed.
        file: The expected file.
        part: Path of the partial file, in a folder of the user.
        rounds: Time limits for each address, round by round.

    Raises:
        DownloadError: if no address gave the file; the message has a line for each.
    """
    problems: dict[str, Exception] = {}
    left = list(urls)
    deadline = time.monotonic() + max(patience.total for patience in rounds)
    for patience in rounds:
        for url in left:
            remaining = max(0.0, deadline - time.monotonic())
            problem = _attempt(url, part, file, replace(patience, total=min(patience.total, remaining)))
            if problem is None:
                _move(part, target)
                return
            problems[url] = problem
        left = [url for url in left if isinstance(problems[url], TimeoutError)]
        left.sort(key=lambda url: getattr(problems[url], "speed", 0.0), reverse=True)
    raise DownloadError("\n".join(f"  {url}: {problem}" for url, problem in problems.items()) or "  no address given")


def _move(part: Path, target: Path) -> None:
    """Move the finished file into its folder, which may be on another disk."""
    with replaced_when_complete(target) as unfinished:
        shutil.copyfile(part, unfinished)
    part.unlink()


def md5_of(path: Path) -> str:
    """The md5 of a file, as hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _attempt(url: str, part: Path, file: File, patience: Patience) -> Exception | None:
    """Complete the partial file from one address and check it. Returns the error, if there is one."""
    if _size(part) > file.size:
        part.unlink()
    try:
        if _size(part) < file.size:
            _fetch(url, part, file, patience)
    except WrongFileError as error:
        part.unlink(missing_ok=True)
        return error
    except URLError as error:
        return error.reason if isinstance(error.reason, Exception) else error
    except (OSError, HTTPException) as error:
        return error
    if file.md5 is None:
        return None
    found = md5_of(part)
    if found == file.md5:
        return None
    part.unlink()
    return WrongFileError(f"what it sent is not the official file (md5 {found}, not {file.md5}); it was removed")


def _fetch(url: str, part: Path, file: File, patience: Patience) -> None:
    """Receive the rest of the file. Reconnect after an interruption if the connection has sent something."""
    pace = _Pace(url, patience, file.size - _size(part))
    while True:
        before = _size(part)
        try:
            return _receive(url, part, file, pace)
        except (TooSlowError, WrongFileError):
            raise
        except (OSError, HTTPException):
            if _size(part) <= before:
                raise


def _receive(url: str, part: Path, file: File, pace: _Pace) -> None:
    """Append the content of one connection to the partial file, or restart it if the server can't resume."""
    with _answer(url, _size(part), pace) as response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        had = _size(part) if resumed else 0
        if response.length is not None and had + response.length != file.size:
            raise WrongFileError(f"it offers {had + response.length} bytes, and the official file has {file.size}")
        pace.connected()
        with (
            part.open("ab" if resumed else "wb") as partial,
            progress_bar(f"Downloading {url}", file.size, in_bytes=True) as bar,
        ):
            bar(had)
            while chunk := response.read1(CHUNK):
                had += len(chunk)
                if had > file.size:
                    raise WrongFileError(f"it sends more than the {file.size} bytes of the official file")
                partial.write(chunk)
                bar(len(chunk))
                pace.check(len(chunk))
        if had < file.size:
            raise ConnectionError(f"the connection was cut off, {file.size - had} bytes before the end")


class _Pace:
    """Measures whether an address is fast enough, over all of its connections.

    Args:
        url: The address, for messages.
        patience: The time limits.
        rest: Number of missing bytes.
    """

    def __init__(self, url: str, patience: Patience, rest: int) -> None:
        self.patience = patience
        self._url, self._rest, self._received = url, rest, 0
        self._started, self._waiting, self._said = time.monotonic(), 0.0, False
        self._asked = self._started

    def asked(self) -> float:
        """Note that a connection begins. Returns the seconds that it may take."""
        self._asked = time.monotonic()
        left = self._started + self.patience.total - self._asked
        if left <= 0:
            raise self._too_slow()
        return min(self.patience.silence, left)

    def connected(self) -> None:
        """Note that the address has answered. The time until then counts for the total, not for the speed."""
        if self._received == 0:
            self._waiting = time.monotonic() - self._started

    def check(self, received: int) -> None:
        """Count received bytes.

        Raises:
            TooSlowError: if the rest would take too long.
        """
        self._received += received
        spent = time.monotonic() - self._started
        if spent - self._waiting < self.patience.trial:
            return
        if spent + self._seconds_left() > self.patience.total:
            raise self._too_slow()
        if not self._said and self._seconds_left() > 60:
            self._said = True
            say(f"{self._url} gives {self._speed() / 1000:.0f} kB/s: about {self._seconds_left() / 60:.0f} minutes.")

    def _speed(self) -> float:
        return self._received / max(time.monotonic() - self._started - self._waiting, 1e-3)

    def _seconds_left(self) -> float:
        return (self._rest - self._received) / max(self._speed(), 1e-3)

    def _too_slow(self) -> TooSlowError:
        minutes, speed = self._seconds_left() / 60, self._speed()
        return TooSlowError(f"too slow: {minutes:.0f} more minutes at {speed / 1000:.0f} kB/s", speed)


def _answer(url: str, start: int, pace: _Pace) -> HTTPResponse:
    """Request the file from byte `start` on and wait for the answer, for a limited time.

    The timeout of a socket restarts with every byte. So a thread sends the request and is abandoned after the limit.
    """
    answers: Queue[HTTPResponse | Exception] = Queue()
    seconds = pace.asked()

    def ask() -> None:
        try:
            answers.put(open_url(url, start, pace.patience.silence))
        except Exception as error:  # noqa: BLE001 - it is raised in the other thread
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def open_url(url: str, start: int, silence: float) -> HTTPResponse:
    """Request the file from byte `start` on, or all of it if the server says that it is shorter."""
    headers = {"User-Agent": f"lit_cifar/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return cast(HTTPResponse, urlopen(Request(url, headers=headers), timeout=silence))  # noqa: S310 - checked: http(s)
    except HTTPError as error:
        error.close()
        if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return open_url(url, 0, silence)
        raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

"""A tiny CIFAR-10 archive, and a local web server that sends it fast, slowly, in pieces or not at all."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lit_cifar.data.sources.cifar10 import FOLDER_NAME, Archive
from tests.data.sources.drawn import LAYOUT, draw

IMAGES_PER_BATCH = 4


class FakeCIFAR10:
    """An archive with the official layout and a few random images, and its md5s."""

    def __init__(self) -> None:
        names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
        self.batches = {name: _batch(seed) for seed, name in enumerate(names)}
        self.files = {name: pickle.dumps(batch, protocol=2) for name, batch in self.batches.items()}
        self.content = _tar({"batches.meta": b"not needed", **self.files})
        md5s = {name: md5(content) for name, content in self.files.items()}
        test = {"test_batch": md5s.pop("test_batch")}
        self.archive = Archive(md5=md5(self.content), size=len(self.content), train=md5s, test=test)

    def extract(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder

    def images(self, *names: str) -> np.ndarray:
        return np.concatenate([self.batches[name]["data"] for name in names]).reshape(-1, 3, 32, 32)

    def labels(self, *names: str) -> list[int]:
        return [label for name in names for label in self.batches[name]["labels"]]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER_NAME}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _batch(seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    data = generator.integers(0, 256, (IMAGES_PER_BATCH, 3072), dtype=np.uint8)
    return {"data": data, "labels": generator.integers(0, 10, IMAGES_PER_BATCH).tolist()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a cache of its own."""
    folder = tmp_path.with_name(f"{tmp_path.name}-cache")
    monkeypatch.setenv("LIT_CIFAR_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def fake() -> FakeCIFAR10:
    """About 70 kB of random images in six batch files."""
    return FakeCIFAR10()


@dataclass
class FileServer:
    """A web server that gives one file, with the habits it is told to have."""

    content: bytes
    ranges: bool = True
    """Whether it can resume."""
    status: int = 200
    """What it answers; anything but 200 has no content."""
    cuts: list[int] = field(default_factory=list)
    """Each connection in turn is cut after so many bytes."""
    piece: int = 1 << 20
    pause: float = 0.0
    """Seconds before each piece of the content."""
    says_length: bool = True
    """Whether it tells the length of its content."""
    asked: list[int] = field(default_factory=list)
    """The first byte that each request asked for."""
    url: str = ""


@pytest.fixture
def serve(fake: FakeCIFAR10) -> Iterator[Callable[..., FileServer]]:
    """Start a `FileServer` with the given habits, of the fake archive unless told otherwise."""
    servers = []

    def start(**habits: object) -> FileServer:
        habits.setdefault("content", fake.content)
        file_server = FileServer(**habits)  # type: ignore[arg-type]
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(file_server))
        file_server.url = f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return file_server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(wanted[1]) if wanted else 0
            server.asked.append(start)
            start = start if server.ranges else 0
            if server.status != 200:
                self._answer(server.status, b"")
            elif start >= len(server.content):
                self._answer(416, b"")
            else:
                self._answer(206 if start else 200, server.content[start:])

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            if server.says_length:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            end = server.cuts.pop(0) if server.cuts else len(content)
            try:
                for position in range(0, end, server.piece):
                    time.sleep(server.pause)
                    self.wfile.write(content[position : min(position + server.piece, end)])
            except OSError:
                pass  # the other side has left, as it may
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven gray pictures, of brightness 0, 10, 20 … in the order in which they are to be found."""
    brightness = 0
    for split, classes in LAYOUT.items():
        for name in sorted(classes):
            for file in sorted(classes[name]):
                draw(tmp_path / "data" / split / name / file, brightness)
                brightness += 10
    return tmp_path / "data"

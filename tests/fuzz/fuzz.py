"""Damages files at random and reads them. A reader must return an image or raise a `UserError`.

    python tests/fuzz/fuzz.py --seconds 120 [--seed 0]

Each round changes, cuts, doubles or inserts bytes of a valid picture, CIFAR-10 archive or checkpoint. A round fails if
the reader raises anything but `UserError`, gives something of another shape, or takes longer than ten seconds. Failing
files are kept; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import io
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lit_cifar.data.sources.cifar10 import CIFAR10Source
from lit_cifar.data.sources.image_files import read_pictures
from lit_cifar.training import checkpoints
from lit_cifar.utils.errors import UserError

SLOW = 10.0
"""Seconds. A few bytes may claim to be as many pixels as Pillow allows, 89 million: those take some seconds."""

FORMATS = ("png", "jpeg", "gif", "bmp", "webp", "tiff", "tga", "ppm")


def pictures(rng: np.random.Generator) -> dict[str, bytes]:
    """A valid file of each format, by suffix."""
    found = {}
    for suffix in FORMATS:
        content = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(content, suffix)
        found[suffix] = content.getvalue()
    return found


def archive(rng: np.random.Generator) -> bytes:
    """An archive with CIFAR-10's names in it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = 2000
            tar.addfile(member, io.BytesIO(rng.bytes(2000)))
    return content.getvalue()


def checkpoint() -> bytes:
    """A valid checkpoint."""
    content = io.BytesIO()
    torch.save({"state_dict": {"weight": torch.arange(100.0)}, checkpoints.KEY: {"version": "0"}}, content)
    return content.getvalue()


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content after some random changes."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        start = int(rng.integers(len(data) + 1))
        length = int(rng.integers(1, 33))
        kind = rng.integers(4)
        if kind == 0 and start < len(data):
            data[start] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
        elif kind == 1:
            data[start : start + length] = rng.bytes(length)
        elif kind == 2:
            data[start:start] = data[start : start + length]
        elif rng.random() < 0.2:
            del data[start:]
        data = data or bytearray(b"\0")
    return bytes(data)


def read_picture(path: Path) -> str:
    found = read_pictures(path)
    if len(found.paths) + len(found.unreadable) != 1 or tuple(found.images.shape[1:]) != (3, 32, 32):
        raise AssertionError("a picture is neither an image nor unreadable")
    return "image" if found.paths else "refused"


def read_archive(path: Path) -> str:
    CIFAR10Source(path.parent, urls=[]).prepare()
    return "read"


def read_checkpoint(path: Path) -> str:
    checkpoints.read(path)
    return "read"


def main() -> int:
    """Fuzz for some seconds and print the failures."""
    parser = argparse.ArgumentParser(description="Damage files at random and read them.")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    folder = Path(tempfile.mkdtemp(prefix="lit-cifar-fuzz-"))
    valid = pictures(rng)
    targets: list[tuple[str, bytes, Callable[[Path], str]]] = [
        *((f"picture.{suffix}", content, read_picture) for suffix, content in valid.items()),
        ("cifar-10-python.tar.gz", archive(rng), read_archive),
        ("any.ckpt", checkpoint(), read_checkpoint),
    ]
    counts: Counter[str] = Counter()
    failures = 0
    end = time.monotonic() + given.seconds
    while time.monotonic() < end:
        name, content, read = targets[rng.integers(len(targets))]
        path = folder / name
        path.write_bytes(damaged(content, rng))
        started = time.monotonic()
        try:
            outcome = read(path)
        except UserError:
            outcome = "refused"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we are looking for
            outcome = f"FAILED with {type(error).__name__}: {error}"
        if time.monotonic() - started > SLOW:
            outcome = f"FAILED by taking {time.monotonic() - started:.1f} s"
        if outcome.startswith("FAILED"):
            failures += 1
            kept = path.rename(folder / f"failure_{failures}_{name}")
            print(f"{kept}: {outcome}")
        counts[f"{name:<24}{outcome.partition(':')[0]}"] += 1
        path.unlink(missing_ok=True)
    print("\n".join(f"{count:>8}  {what}" for what, count in sorted(counts.items())))
    print(f"{sum(counts.values())} files, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Pictures of one brightness, drawn for tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

posix = pytest.mark.skipif(os.name == "nt", reason="needs links, FIFOs and permissions as POSIX has them")
LAYOUT = {
    "train": {"cat": ["b.png", "a.jpg", "deep/er.png"], "ant": ["1.png", "2.png"]},
    "test": {"cat": ["x.png"], "ant": ["y.bmp"]},
}


def draw(path: Path, brightness: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (brightness,) * 3).save(path)


def brightness(images) -> list[int]:
    return images[:, 0, 0, 0].tolist()

"""Pictures of every format and size become upright 32×32 RGB images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_cifar.data.sources.image_files import EXTENSIONS, decode, list_pictures, read_pictures
from lit_cifar.utils.errors import UserError

ORIENTATION = 0x0112
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def noise() -> np.ndarray:
    """One random picture, [32, 32, 3]."""
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def colour(path: Path) -> tuple[int, ...]:
    """The colour of a picture that has a single one."""
    pixels = decode(path).reshape(3, -1)
    assert (pixels.max(axis=1) == pixels.min(axis=1)).all()
    return tuple(pixels[:, 0].tolist())


@pytest.mark.parametrize("extension", ["png", "bmp", "ppm", "tif", "tga", "webp"])
def test_pixels_of_a_small_picture_are_kept(tmp_path, noise, extension) -> None:
    path = tmp_path / f"picture.{extension}"
    Image.fromarray(noise).save(path, **({"lossless": True} if extension == "webp" else {}))
    assert (decode(path) == noise.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("extension", ["jpg", "gif", "avif"])
def test_lossy_formats_are_read(tmp_path, extension) -> None:
    path = tmp_path / f"picture.{extension}"
    Image.new("RGB", (32, 32), (200, 100, 50)).save(path)
    assert np.allclose(decode(path).mean(axis=(1, 2)), (200, 100, 50), atol=3)


def test_pictures_are_scaled_to_the_size_that_is_asked_for(tmp_path) -> None:
    large = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    assert (decode(tmp_path / "large.png", 48) == large.transpose(2, 0, 1)).all()
    assert read_pictures(tmp_path, (3, 10, 10)).images.shape == (1, 3, 10, 10)
    assert read_pictures(tmp_path, (1, 10, 10)).images.shape == (1, 1, 10, 10)
    with pytest.raises(UserError, match="10×12"):
        read_pictures(tmp_path, (3, 10, 12))


def test_every_extension_is_one_that_pillow_opens() -> None:
    Image.init()
    assert set(EXTENSIONS) <= set(Image.registered_extensions())


def test_large_pictures_are_averaged_not_sampled(tmp_path) -> None:
    """A fine checkerboard becomes gray; taking single pixels would leave it black and white."""
    board = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")
    assert abs(decode(tmp_path / "board.png").astype(int) - 127).max() <= 2


@pytest.mark.parametrize("size", [(1, 1), (31, 32), (300, 20)])
def test_any_size_fits(tmp_path, size) -> None:
    Image.new("RGB", size, GREEN).save(tmp_path / "picture.png")
    assert decode(tmp_path / "picture.png").shape == (3, 32, 32)
    assert colour(tmp_path / "picture.png") == GREEN


def test_exif_rotation_is_undone(tmp_path) -> None:
    """Orientation 6: the camera was held sideways, the left side of the stored picture is the top."""
    stored = np.zeros((64, 64, 3), dtype=np.uint8)
    stored[:, :32] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(stored).save(tmp_path / "picture.png", exif=exif)
    upright = decode(tmp_path / "picture.png")
    assert upright[:, :12].min() > 240
    assert upright[:, 20:].max() < 15


def test_transparent_pixels_show_white(tmp_path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "invisible.png")
    assert colour(tmp_path / "invisible.png") == WHITE
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(tmp_path / "half.png")
    assert colour(tmp_path / "half.png") == (127, 127, 127)
    Image.new("LA", (8, 8), (0, 0)).save(tmp_path / "gray.png")
    assert colour(tmp_path / "gray.png") == WHITE
    Image.new("RGB", (8, 8), RED).save(tmp_path / "keyed.png", transparency=RED)
    assert colour(tmp_path / "keyed.png") == WHITE


def test_palette(tmp_path) -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([*RED, *BLUE])
    picture.save(tmp_path / "opaque.png")
    assert colour(tmp_path / "opaque.png") == BLUE
    picture.save(tmp_path / "transparent.png", transparency=b"\xff\x00")
    assert colour(tmp_path / "transparent.png") == WHITE


def test_cmyk(tmp_path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "picture.tif")
    assert colour(tmp_path / "picture.tif") == RED


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (257 * 100, 100), (65535, 255)])
@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
def test_16_bits_are_scaled(tmp_path, extension, value, expected) -> None:
    Image.fromarray(np.full((32, 32), value, dtype=np.uint16)).save(tmp_path / f"picture.{extension}")
    assert colour(tmp_path / f"picture.{extension}") == (expected,) * 3


def test_black_and_white(tmp_path) -> None:
    Image.new("1", (32, 32), 1).save(tmp_path / "picture.png")
    assert colour(tmp_path / "picture.png") == WHITE


def test_first_frame_of_an_animation(tmp_path) -> None:
    frames = [Image.new("RGB", (32, 32), each) for each in (RED, GREEN)]
    frames[0].save(tmp_path / "picture.gif", save_all=True, append_images=frames[1:])
    assert colour(tmp_path / "picture.gif") == RED


def test_list_is_sorted_and_passes_over_what_is_no_picture(tmp_path) -> None:
    for name in ["b.PNG", "a/z.jpg", "a/b/c.webp", "a.txt", ".hidden.png", "._a.jpg", ".cache/x.png", "png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "c.gif").symlink_to(tmp_path / "nowhere.gif")
    files = list_pictures(tmp_path)
    assert [file.path for file in files] == ["a/b/c.webp", "a/z.jpg", "b.PNG", "c.gif"]
    assert [file.size for file in files] == [5, 5, 5, -1]


def test_read_pictures_reads_what_it_can_and_says_what_it_cannot(tmp_path, noise) -> None:
    (tmp_path / "in" / "ner").mkdir(parents=True)
    Image.fromarray(noise).save(tmp_path / "b.png")
    Image.new("RGB", (99, 7), BLUE).save(tmp_path / "in" / "ner" / "a.png")
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "cut.png").write_bytes((tmp_path / "b.png").read_bytes()[:500])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.gif").write_text("no picture")
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    pictures = read_pictures(tmp_path)
    assert pictures.paths == ("b.png", "in/ner/a.png")
    assert pictures.images.dtype == torch.uint8
    assert pictures.images.is_contiguous()
    assert (pictures.images[0].numpy() == noise.transpose(2, 0, 1)).all()
    assert pictures.images[1, :, 5, 5].tolist() == list(BLUE)
    assert list(pictures.unreadable) == ["cut.png", "empty.jpg", "float.tif", "lost.png", "text.gif"]
    assert "truncated" in pictures.unreadable["cut.png"]
    assert "cannot identify image file" in pictures.unreadable["text.gif"]
    assert "8 or 16 bits" in pictures.unreadable["float.tif"]
    assert "No such file" in pictures.unreadable["lost.png"]


def test_more_pictures_than_one_thread_takes_at_a_time_stay_in_order(tmp_path) -> None:
    for index in range(150):
        Image.new("RGB", (1, 1), (index, 0, 0)).save(tmp_path / f"{index:03d}.png")
    assert read_pictures(tmp_path).images[:, 0, 0, 0].tolist() == list(range(150))


def test_single_file(tmp_path, noise) -> None:
    Image.fromarray(noise).save(tmp_path / "one.png")
    Image.fromarray(noise).save(tmp_path / "another.png")
    pictures = read_pictures(tmp_path / "one.png")
    assert pictures.paths == ("one.png",)
    assert pictures.images.shape == (1, 3, 32, 32)


def test_no_readable_picture_at_all(tmp_path) -> None:
    (tmp_path / "bad.png").touch()
    pictures = read_pictures(tmp_path)
    assert pictures.images.shape == (0, 3, 32, 32)
    assert list(pictures.unreadable) == ["bad.png"]


@pytest.mark.parametrize(("name", "message"), [("", "There are no pictures in"), ("typo", "There is no folder")])
def test_nothing_to_read(tmp_path, name, message) -> None:
    with pytest.raises(UserError, match=f"{message}.*{tmp_path / name}"):
        read_pictures(tmp_path / name)


@pytest.mark.parametrize("factor", [1.5, 3])
def test_decompression_bombs_are_refused(tmp_path, monkeypatch, factor) -> None:
    """Pillow itself warns from its limit on and refuses from twice the limit on; here its limit is the limit."""
    Image.new("1", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(10_000 / factor))
    assert "decompression bomb" in read_pictures(tmp_path).unreadable["bomb.png"]

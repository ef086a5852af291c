"""Decoding: every kind of pixel to RGB, every broken file to a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resight.crops.images import UnreadableImage, file_digest, read_image
from resight.errors import ResightError


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 5, 3), dtype=np.uint8)


def saved(image: Image.Image, file: Path, **options: object) -> Path:
    image.save(file, **options)
    return file


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_lossless_kinds(tmp_path: Path, pixels: np.ndarray, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    array = read_image(saved(Image.fromarray(pixels), tmp_path / f"ü 1.{suffix}", **options))
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    assert np.array_equal(array, pixels.transpose(2, 0, 1))


def test_grey(tmp_path: Path, pixels: np.ndarray) -> None:
    array = read_image(saved(Image.fromarray(pixels[..., 0]), tmp_path / "a.png"))
    assert np.array_equal(array, np.broadcast_to(pixels[..., 0], (3, 8, 5)))


def test_alpha_is_dropped(tmp_path: Path, pixels: np.ndarray) -> None:
    image = Image.fromarray(np.concatenate([pixels, pixels[..., :1]], axis=2))
    assert np.array_equal(read_image(saved(image, tmp_path / "a.png")), pixels.transpose(2, 0, 1))


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    array = read_image(saved(image, tmp_path / "a.png", transparency=b"\x00\xff"))
    assert array[:, 0].T.tolist() == [[10, 20, 30], [40, 50, 60]]


def test_16_bit(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256], [4096, 65280, 65535]], dtype=np.uint16)
    array = read_image(saved(Image.fromarray(values), tmp_path / "a.png"))
    assert array[1].tolist() == [[0, 0, 1], [16, 255, 255]]
    assert np.array_equal(array[0], array[2])


@pytest.mark.parametrize("kind", ["float32", "int32"])
def test_pixels_of_unknown_range(tmp_path: Path, kind: str) -> None:
    file = saved(Image.fromarray(np.full((2, 2), 70000, dtype=kind)), tmp_path / "a.tif")
    with pytest.raises(UnreadableImage, match="save it with 8 bits"):
        read_image(file)


def test_exif_orientation(tmp_path: Path, pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6
    array = read_image(saved(image, tmp_path / "a.png", exif=exif))
    assert np.array_equal(array, np.rot90(pixels, -1).transpose(2, 0, 1))


def test_resize(tmp_path: Path, pixels: np.ndarray) -> None:
    file = saved(Image.fromarray(pixels), tmp_path / "a.png")
    assert read_image(file, 16, 6).shape == (3, 16, 6)
    expected = np.asarray(Image.fromarray(pixels).resize((6, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.array_equal(read_image(file, 16, 6), expected)
    assert np.array_equal(read_image(file, 8, 5), pixels.transpose(2, 0, 1))
    with pytest.raises(ResightError, match="both its height and its width"):
        read_image(file, height=16)
    with pytest.raises(ResightError, match="positive height and width"):
        read_image(file, 0, 4)


def test_broken_files(tmp_path: Path, pixels: np.ndarray) -> None:
    with pytest.raises(UnreadableImage, match=r"none.jpg cannot be read: no such file or directory\."):
        read_image(tmp_path / "none.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(UnreadableImage, match="the file is empty"):
        read_image(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(UnreadableImage, match="not an image of a known kind"):
        read_image(tmp_path / "text.jpg")
    for suffix in ("jpg", "png"):
        noise = np.random.default_rng(1).integers(0, 256, (64, 32, 3), dtype=np.uint8)
        whole = saved(Image.fromarray(noise), tmp_path / f"cut.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UnreadableImage, match="truncated") as error:
            read_image(tmp_path / f"cut.{suffix}")
        assert "truncated" in error.value.reason


def test_digest(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b") != file_digest(tmp_path / "c")
    assert len(file_digest(tmp_path / "a")) == 32
    with pytest.raises(UnreadableImage):
        file_digest(tmp_path / "none")

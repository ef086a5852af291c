"""Decoding: every kind of pixel to RGB, every broken file to a sentence."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import resight.crops.images as images_module
from resight.common.threads import map_ordered
from resight.crops.images import UnreadableImage, file_digest, header_size, image_size, read_image
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


def within(seconds: float, work: Callable[[], object]) -> BaseException | None:
    """What work raises; fails if it has not ended after so many seconds."""
    raised: list[BaseException | None] = []

    def run() -> None:
        try:
            work()
            raised.append(None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert raised, "it hangs"
    return raised[0]


@pytest.mark.parametrize("read", [read_image, file_digest, image_size, header_size])
def test_what_is_not_a_file_is_not_opened(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
        for name, reason in (
            ("pipe", "it is a pipe, not a file"),
            ("zero", "it is a device, not a file"),
            ("folder", "it is a folder, not a file"),
            ("socket", "it is a socket, not a file"),
            ("loop", "too many levels of symbolic links"),
        ):
            error = within(5, partial(read, tmp_path / f"{name}.jpg"))
            assert isinstance(error, UnreadableImage)
            assert error.reason == reason
    with pytest.raises(UnreadableImage, match="null"):
        read(tmp_path / "nul\0.jpg")


def test_a_link_to_a_file_is_a_file(tmp_path: Path, pixels: np.ndarray) -> None:
    saved(Image.fromarray(pixels), tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "b.png"), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "MPO"])
def test_raster_kinds_are_read_whatever_the_suffix(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.jpg", format=kind)
    assert read_image(tmp_path / "a.jpg").shape == (3, 8, 5)
    assert image_size(tmp_path / "a.jpg") == header_size(tmp_path / "a.jpg") == (8, 5)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "TGA", "PCX", "SGI", "DDS", "JPEG2000"])
def test_other_kinds_are_not_decoded(
    tmp_path: Path, pixels: np.ndarray, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    Image.fromarray(pixels).resize((16, 16)).save(tmp_path / "a.jpg", format=kind)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(UnreadableImage, match="not an image of a known kind"):
        read_image(tmp_path / "a.jpg")


def claim(file: Path, side: int) -> Path:
    """A PNG file of a few bytes whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))))
    return file


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize(
    ("side", "reason"),
    [
        (8193, "it has 67 million pixels, more than the 67 million that a crop may have; make it smaller"),
        (13_000, "it has 169 million pixels, more than the 67 million that a crop may have; make it smaller"),
        (20_000, "it has many more pixels than the 67 million that a crop may have; make it smaller"),
    ],
)
def test_too_many_pixels(tmp_path: Path, side: int, reason: str) -> None:
    for read in (partial(read_image, height=128, width=64), image_size, header_size):
        with pytest.raises(UnreadableImage) as caught:
            read(claim(tmp_path / "a.png", side))
        assert caught.value.reason == reason
    with pytest.raises(UnreadableImage, match="truncated"):  # read, and then found to lack its pixels
        read_image(claim(tmp_path / "a.png", 4000))


def test_too_many_bytes(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as stream:
        stream.truncate(20 * 10**9)
    for read in (read_image, file_digest):
        with pytest.raises(UnreadableImage, match="it has 20000 MB, and an image file may have 268 MB"):
            read(tmp_path / "a.jpg")


def test_large_images_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads decode images of 16 million pixels; there is room for two at once."""
    monkeypatch.setattr(images_module, "_ROOM", images_module._Room(2 * 8 * 4096 * 4096))
    honest, inside, most = images_module._to_rgb, [0], [0]
    lock, two = threading.Lock(), threading.Event()

    def counted(*arguments: Any) -> Image.Image:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            if inside[0] == 2:
                two.set()
        two.wait(30)  # a busy machine starts the second thread late
        time.sleep(0.01)
        with lock:
            inside[0] -= 1
        return honest(*arguments)

    monkeypatch.setattr(images_module, "_to_rgb", counted)
    Image.new("RGB", (4096, 4096), (1, 2, 3)).save(tmp_path / "a.jpg")
    shapes = [image.shape for image in map_ordered(lambda _: read_image(tmp_path / "a.jpg", 8, 4), range(8), 8)]
    assert shapes == [(3, 8, 4)] * 8
    assert most[0] == 2


def test_an_image_larger_than_the_room_gets_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "_ROOM", images_module._Room(1))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert len([*map_ordered(lambda _: read_image(tmp_path / "a.png"), range(20), 8)]) == 20


def test_digest(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b") != file_digest(tmp_path / "c")
    assert len(file_digest(tmp_path / "a")) == 32
    with pytest.raises(UnreadableImage):
        file_digest(tmp_path / "none")

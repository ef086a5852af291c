"""Stored images: indexed like an array, and damage found when it is read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resight.crops.pixels import DamagedPixels, StoredImages, checksum, header
from resight.errors import ResightError

SHAPE = (9, 3, 4, 2)


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


@pytest.fixture
def file(tmp_path: Path, array: np.ndarray) -> Path:
    np.save(tmp_path / "a.npy", array)
    return tmp_path / "a.npy"


def stored(file: Path, array: np.ndarray) -> StoredImages:
    return StoredImages(file, SHAPE, [checksum(image.tobytes()) for image in array])


@pytest.mark.parametrize(
    "indices",
    [
        0, -1, np.int64(3), slice(None), slice(2, 7), slice(7, 2, -2), slice(5, 5), [3, 4, 5, 1, 1], np.array([8, 0]),
        np.array([[1, 2], [2, 8]]), np.arange(9) % 2 == 0, np.array([], np.int64), ...,
    ],
    ids=str,
)  # fmt: skip
def test_indexing_is_that_of_an_array(file: Path, array: np.ndarray, indices: object) -> None:
    images = stored(file, array)
    for _ in range(2):  # with checksums, then without
        found = images[indices]
        assert found.dtype == np.uint8
        assert found.shape == array[indices].shape  # type: ignore[index]
        assert np.array_equal(found, array[indices])  # type: ignore[index]


def test_what_else_it_shares_with_an_array(file: Path, array: np.ndarray) -> None:
    images = stored(file, array)
    assert (len(images), images.shape, images.dtype, images.ndim) == (9, SHAPE, np.uint8, 4)
    assert np.array_equal(images, array)
    assert np.array_equal(np.asarray(images, dtype=np.float32), array)
    assert all(np.array_equal(image, same) for image, same in zip(images, array, strict=True))
    for wrong in (9, [0, 9], [-10]):
        with pytest.raises(IndexError, match="out of bounds"):
            images[wrong]
    with pytest.raises(IndexError):
        images[0.5]


def test_the_header_is_numpys(file: Path) -> None:
    assert file.read_bytes().startswith(header(SHAPE))


def test_another_size_is_found_at_opening(file: Path, array: np.ndarray) -> None:
    whole = file.read_bytes()
    for content in (whole[:-1], whole + b"0", b"", whole[:-24]):
        file.write_bytes(content)
        with pytest.raises(DamagedPixels, match=f"has {len(content)} bytes instead of {len(whole)}"):
            stored(file, array)
    file.write_bytes(b"\x93NUMPX" + whole[6:])
    with pytest.raises(DamagedPixels, match="does not begin as an array"):
        stored(file, array)


def test_a_flipped_byte_is_found_when_its_image_is_read(file: Path, array: np.ndarray) -> None:
    images = stored(file, array)
    with file.open("r+b") as stream:
        stream.seek(len(header(SHAPE)) + 5 * 24 + 7)
        stream.write(bytes([array.reshape(-1)[5 * 24 + 7] ^ 1]))
    assert np.array_equal(images[:5], array[:5])
    with pytest.raises(ResightError) as caught:
        images[[7, 5]]
    assert str(caught.value) == (
        f"The pixel cache {file} is damaged: its image 6 is not the one that was written. It is removed: start again, "
        "and the crops are decoded anew. A training run goes on with --resume."
    )
    assert not file.exists()


def test_only_the_damaged_file_is_removed(file: Path, array: np.ndarray) -> None:
    images = stored(file, array)
    os.truncate(file, 100)
    np.save(file.with_name("new.npy"), array)
    os.replace(file.with_name("new.npy"), file)  # another process has made it anew
    with pytest.raises(ResightError, match="was cut short while it was in use"):
        images[0]
    assert np.array_equal(stored(file, array), array)


def test_a_file_that_is_cut_short_in_use_ends_in_a_sentence_and_not_in_a_signal(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
import numpy as np
from resight.crops.pixels import StoredImages, checksum
from resight.errors import ResightError
array = np.zeros((50, 3, 128, 64), np.uint8)
file = Path(sys.argv[1])
np.save(file, array)
images = StoredImages(file, array.shape, [checksum(image.tobytes()) for image in array])
assert not images[[3, 49]].any()
os.truncate(file, 10_000)
try:
    images[[3, 49]]
except ResightError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.npy"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "a.npy is damaged: it was cut short while it was in use. It is removed: start again" in done.stdout


def test_the_file_is_closed_with_the_object(file: Path, array: np.ndarray) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
    images = stored(file, array)
    images[0]
    del images
    assert before is None or len(os.listdir("/proc/self/fd")) == before

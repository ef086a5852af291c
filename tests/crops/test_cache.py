"""The pixel cache: decoded once, row for row with its table, and never half-written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resight.crops.cache as cache_module
from resight.crops import CropTable
from resight.crops.cache import PixelCache, open_pixel_cache
from resight.crops.images import read_image
from resight.errors import ResightError


@pytest.fixture
def crops(tmp_path: Path) -> CropTable:
    """Eight crops of several sizes, with an identity each."""
    rng = np.random.default_rng(0)
    root = tmp_path / "crops"
    root.mkdir()
    for number in range(8):
        pixels = rng.integers(0, 256, (20 + number, 9 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    return CropTable(root, tuple(f"{number}.png" for number in range(8)), identity=np.arange(100, 108))


def opened(table: CropTable, folder: Path, height: int = 16, width: int = 8, **options: object) -> PixelCache:
    return open_pixel_cache(table, height, width, folder, **options)  # type: ignore[arg-type]


def assert_row_for_row(pixels: PixelCache, height: int = 16, width: int = 8) -> None:
    assert pixels.images.shape == (len(pixels.table), 3, height, width)
    for row in range(len(pixels)):
        assert np.array_equal(pixels.images[row], read_image(pixels.table.file(row), height, width))


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("a crop was decoded again")

    monkeypatch.setattr(cache_module, "read_image", refuse)


def test_images_are_those_of_read_image(crops: CropTable, tmp_path: Path) -> None:
    pixels = opened(crops, tmp_path / "cache")
    assert len(pixels) == 8
    assert pixels.table.paths == crops.paths
    assert pixels.unreadable == ()
    assert pixels.images.dtype == np.uint8
    assert not pixels.images.flags.writeable
    assert_row_for_row(pixels)


def test_second_call_decodes_nothing(
    crops: CropTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    first = opened(crops, tmp_path / "cache")
    request.getfixturevalue("no_decoding")
    second = opened(crops, tmp_path / "cache")
    assert np.array_equal(first.images, second.images)
    assert first.digest == second.digest


def test_copied_folder_finds_the_same_cache(crops: CropTable, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    first = opened(crops, tmp_path / "cache")
    shutil.copytree(crops.root, tmp_path / "elsewhere")
    request.getfixturevalue("no_decoding")
    second = opened(CropTable(tmp_path / "elsewhere", crops.paths), tmp_path / "cache")
    assert second.digest == first.digest
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_changed_crop_makes_a_new_cache(crops: CropTable, tmp_path: Path) -> None:
    first = opened(crops, tmp_path / "cache")
    Image.new("RGB", (9, 20), (1, 2, 3)).save(crops.file(3))
    second = opened(crops, tmp_path / "cache")
    assert second.digest != first.digest
    assert_row_for_row(second)
    assert (second.images[3] == np.array([1, 2, 3], dtype=np.uint8)[:, None, None]).all()


def test_another_order_is_another_cache(crops: CropTable, tmp_path: Path) -> None:
    opened(crops, tmp_path / "cache")
    pixels = opened(crops.select([3, 1, 1, 0]), tmp_path / "cache")
    assert pixels.table.paths == ("3.png", "1.png", "1.png", "0.png")
    assert_row_for_row(pixels)


def test_two_sizes_lie_side_by_side(crops: CropTable, tmp_path: Path) -> None:
    small, large = opened(crops, tmp_path / "cache"), opened(crops, tmp_path / "cache", 24, 12)
    assert_row_for_row(small)
    assert_row_for_row(large, 24, 12)
    assert small.digest == large.digest
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def spoil(crops: CropTable) -> None:
    crops.file(0).write_bytes(b"no image")
    crops.file(3).write_bytes(b"")
    crops.file(4).unlink()


REASONS = (
    ("0.png", "it is not an image of a known kind"),
    ("3.png", "the file is empty"),
    ("4.png", "no such file or directory"),
)


def test_unreadable_crops_are_left_out_by_name(
    crops: CropTable, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    spoil(crops)
    pixels = opened(crops, tmp_path / "cache", max_unreadable=0.5)
    assert pixels.unreadable == REASONS
    assert pixels.table.paths == ("1.png", "2.png", "5.png", "6.png", "7.png")
    assert pixels.table.identity is not None
    assert pixels.table.identity.tolist() == [101, 102, 105, 106, 107]
    assert_row_for_row(pixels)
    request.getfixturevalue("no_decoding")
    again = opened(crops, tmp_path / "cache", max_unreadable=0.5)
    assert again.unreadable == REASONS
    assert np.array_equal(again.images, pixels.images)


def test_too_many_unreadable_crops_end_in_a_sentence(crops: CropTable, tmp_path: Path) -> None:
    spoil(crops)
    for _ in range(2):  # the second time from the cache
        with pytest.raises(ResightError) as caught:
            opened(crops, tmp_path / "cache", max_unreadable=0.3)
        assert str(caught.value) == (
            f"3 of 8 crops in {crops.root} could not be read (0.png: it is not an image of a known kind; 3.png: the "
            "file is empty; 4.png: no such file or directory), a larger share than max_unreadable=0.3. "
            "Mend or remove them ('resight check' lists them all), or raise max_unreadable."
        )
    assert len(opened(crops, tmp_path / "cache", max_unreadable=3 / 8)) == 5


def test_no_readable_crop_ends_in_a_sentence_whatever_the_share(crops: CropTable, tmp_path: Path) -> None:
    for row in range(8):
        crops.file(row).write_bytes(b"no image")
    with pytest.raises(ResightError, match=r"None of the 8 crops in .* could be read \(0\.png: it is not an image"):
        opened(crops, tmp_path / "cache", max_unreadable=1.0)


def test_a_crop_that_comes_back_is_read(crops: CropTable, tmp_path: Path) -> None:
    moved = crops.file(2).rename(tmp_path / "away.png")
    assert len(opened(crops, tmp_path / "cache", max_unreadable=0.5)) == 7
    moved.rename(crops.file(2))
    pixels = opened(crops, tmp_path / "cache", max_unreadable=0.5)
    assert len(pixels) == 8
    assert_row_for_row(pixels)


def test_interrupted_decoding_leaves_nothing(crops: CropTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(file: Path, height: int, width: int) -> np.ndarray:
        if file.name == "5.png":
            raise KeyboardInterrupt
        return read_image(file, height, width)

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "read_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(crops, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert_row_for_row(opened(crops, tmp_path / "cache"))


@pytest.mark.parametrize("lost", [".npy", ".json"])
def test_leftovers_of_a_killed_process_do_no_harm(crops: CropTable, tmp_path: Path, lost: str) -> None:
    pixels = opened(crops, tmp_path / "cache")
    stem = f"{pixels.digest}-16x8"
    (tmp_path / "cache" / f"{stem}{lost}").unlink()
    (tmp_path / "cache" / f"{stem}.1.part").write_bytes(b"half an array")
    (tmp_path / "cache" / f"{stem}.1.index").write_text("{")
    assert_row_for_row(opened(crops, tmp_path / "cache"))


def test_folder_that_cannot_be_written_ends_in_a_sentence(crops: CropTable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResightError, match=r"pixel cache .* could not be written: .*--cache FOLDER"):
        opened(crops, tmp_path / "file" / "cache")


def test_empty_table(tmp_path: Path) -> None:
    with pytest.raises(ResightError, match="There are no crops to read"):
        opened(CropTable(tmp_path, ()), tmp_path / "cache")


def test_progress_is_told_of_reading_and_decoding(crops: CropTable, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    opened(crops, tmp_path / "cache", progress=lambda *step: told.append(step))
    assert told == [("reading crops", 8, 8), ("decoding crops", 8, 8)]


def test_more_crops_than_one_block_keep_their_order(crops: CropTable, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).integers(0, 8, 1100)
    pixels = opened(crops.select(rows), tmp_path / "cache", 4, 2)
    alone = [read_image(crops.file(row), 4, 2) for row in range(8)]
    assert all(np.array_equal(image, alone[row]) for image, row in zip(pixels.images, rows, strict=True))

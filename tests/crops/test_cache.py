"""The pixel cache: decoded once, row for row with its table, and never half-written."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import resight.crops.cache as cache_module
from resight.crops import CropTable, read_crops
from resight.crops.cache import PixelCache, open_pixel_cache
from resight.crops.images import read_image
from resight.crops.kept import write_sealed
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
    with pytest.raises(TypeError, match="does not support item assignment"):
        pixels.images[0] = 0  # type: ignore[index]
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


def cache_files(pixels: PixelCache, folder: Path) -> tuple[Path, Path]:
    stem = f"{pixels.digest}-16x8"
    return folder / f"{stem}.npy", folder / f"{stem}.json"


DAMAGE: dict[str, tuple[int, Callable[[bytes], bytes], str]] = {
    "truncated": (0, lambda whole: whole[:-1000], "bytes instead of"),
    "empty": (0, lambda _: b"", "has 0 bytes instead of"),
    "longer": (0, lambda whole: whole + b"0", "bytes instead of"),
    "no header": (0, lambda whole: b"\0" * 128 + whole[128:], "does not begin as an array of its crops"),
    "empty index": (1, lambda _: b"", "has a damaged index"),
    "junk index": (1, lambda _: b"\xff{junk", "has a damaged index"),
    "half an index": (1, lambda whole: whole[: len(whole) // 2], "has a damaged index"),
    "flipped index": (
        1,
        lambda whole: whole.replace(b'"unreadable": {}', b'"unreadable": {"3": "x"}'),
        "damaged index",
    ),
    "earlier version": (1, lambda _: b'{"unreadable": {}}', "was written by an earlier version, without checksums"),
    "another version": (1, lambda _: sealed({"crops": 8}), "has the index of another version"),
    "other crops": (
        1,
        lambda _: sealed({"unreadable": {}, "shape": [7, 3, 16, 8], "checksums": [0] * 7}),
        "has the index of other crops",
    ),
}


def sealed(content: dict[str, object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_sealed(Path(folder) / "a.json", content)
        return (Path(folder) / "a.json").read_bytes()


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_made_anew_with_a_line_that_says_so(
    crops: CropTable, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    which, harm, said = DAMAGE[kind]
    files = cache_files(opened(crops, tmp_path / "cache"), tmp_path / "cache")
    before = [file.read_bytes() for file in files]
    files[which].write_bytes(harm(before[which]))
    assert not caplog.messages
    assert_row_for_row(opened(crops, tmp_path / "cache"))
    (line,) = caplog.messages
    assert line.startswith(f"The pixel cache {files[0]} ")
    assert said in line
    assert line.endswith(": its crops are decoded anew.")
    assert [file.read_bytes() for file in files] == before


def test_the_line_reaches_a_user_who_has_set_nothing_up(crops: CropTable, tmp_path: Path) -> None:
    array, _ = cache_files(opened(crops, tmp_path / "cache"), tmp_path / "cache")
    array.write_bytes(b"")
    script = (
        "import sys; from resight.crops import read_crops; from resight.crops.cache import open_pixel_cache; "
        "open_pixel_cache(read_crops(sys.argv[1]), 16, 8, sys.argv[2])"
    )
    command = [sys.executable, "-c", script, str(crops.root), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size = 128 + 8 * 3 * 16 * 8
    assert done.stderr == f"The pixel cache {array} has 0 bytes instead of {size}: its crops are decoded anew.\n"


def test_flipped_bytes_end_in_a_sentence_and_the_next_start_decodes_again(crops: CropTable, tmp_path: Path) -> None:
    array, _ = cache_files(opened(crops, tmp_path / "cache"), tmp_path / "cache")
    rng = np.random.default_rng(0)
    content = np.frombuffer(array.read_bytes(), np.uint8).copy()
    content[rng.integers(128, len(content), 1000)] ^= 0x10
    array.write_bytes(content.tobytes())
    pixels = opened(crops, tmp_path / "cache")
    with pytest.raises(ResightError, match=r"\.npy is damaged: its image \d is not the one that was written"):
        pixels.images[np.arange(8)]
    assert_row_for_row(opened(crops, tmp_path / "cache"))


def test_processes_that_make_the_same_cache_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "crops").mkdir()
    for number in range(60):
        pixels = rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "crops" / f"{number:02d}.png")
    script = (
        "import sys, numpy as np; from resight.crops import read_crops; from resight.crops.cache import "
        "open_pixel_cache; print(int(np.asarray(open_pixel_cache(read_crops(sys.argv[1]), 64, 32, sys.argv[2]).images)"
        ".sum()))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "crops"), str(tmp_path / "cache")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    sums = {process.communicate() for process in started}
    table = read_crops(tmp_path / "crops")
    expected = sum(int(read_image(table.file(row)).sum()) for row in range(60))
    # A process may decode anew because it opened the cache between the two renamings of another: then it says so.
    assert {out for out, _ in sums} == {f"{expected}\n"}
    assert all(process.returncode == 0 for process in started)
    assert sorted(file.suffix for file in (tmp_path / "cache").iterdir() if "digests" not in file.name) == [
        ".json",
        ".npy",
    ]


def test_parts_of_killed_processes_are_swept(crops: CropTable, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    part = tmp_path / "cache" / f"{'0' * 32}-16x8.999.part"
    part.write_bytes(b"half an array")
    os.utime(part, (0, 0))
    opened(crops, tmp_path / "cache")
    assert not part.exists()


def test_names_that_are_not_unicode_are_left_out(crops: CropTable, tmp_path: Path) -> None:
    name = os.fsdecode(b"stra\xdfe.png")
    shutil.copy(crops.file(0), crops.root / name)
    pixels = opened(read_crops(crops.root), tmp_path / "cache", max_unreadable=0.2)
    assert pixels.unreadable == ((name, "its name is not valid Unicode; rename it"),)
    assert_row_for_row(pixels)
    (crops.root / name).rename(crops.root / "straße.png")
    assert len(opened(read_crops(crops.root), tmp_path / "cache").table) == 9


def test_what_is_not_a_file_is_left_out(crops: CropTable, tmp_path: Path) -> None:
    os.mkfifo(crops.root / "pipe.jpg")
    (crops.root / "zero.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(crops.root / "socket.jpg"))
        pixels = opened(read_crops(crops.root), tmp_path / "cache", max_unreadable=0.5)
    assert pixels.unreadable == (
        ("pipe.jpg", "it is a pipe, not a file"),
        ("socket.jpg", "it is a socket, not a file"),
        ("zero.jpg", "it is a device, not a file"),
    )
    assert_row_for_row(pixels)


def test_what_can_be_done_beside_mending_is_what_the_caller_says(crops: CropTable, tmp_path: Path) -> None:
    spoil(crops)
    for remedy, end in (("", r"lists them all\)\.$"), ("turn back", r"lists them all\), or turn back\.$")):
        with pytest.raises(ResightError, match=end):
            opened(crops, tmp_path / "cache", max_unreadable=0.3, remedy=remedy)


def test_folder_that_cannot_be_written_ends_in_a_sentence(crops: CropTable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResightError, match=r"pixel cache .* could not be written: .*--cache FOLDER"):
        opened(crops, tmp_path / "file" / "cache")


def test_a_full_disk_ends_in_a_sentence_and_leaves_nothing(crops: CropTable, tmp_path: Path) -> None:
    script = (
        "import resource, sys; from resight.crops import read_crops; from resight.crops.cache import open_pixel_cache\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "try: open_pixel_cache(read_crops(sys.argv[1]), 16, 8, sys.argv[2])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", script, str(crops.root), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ResightError The pixel cache ")
    assert "could not be written: [Errno 27] File too large. Free some space or name another folder" in done.stdout
    assert done.stderr == ""
    assert list((tmp_path / "cache").iterdir()) == []


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

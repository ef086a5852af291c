"""Digests of files: read once, and again when a file has changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import resight.crops.digests as digests_module
from resight.crops import CropTable
from resight.crops.digests import NO_DIGEST, FileDigests
from resight.crops.images import file_digest


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CropTable:
    monkeypatch.setattr(digests_module, "_SETTLED_NS", 0)
    (tmp_path / "crops").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / "crops" / name).write_text(name)
    return CropTable(tmp_path / "crops", ("a.png", "b.png", "c.png"))


class Count:
    """The files that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []

        def count(file: Path) -> str:
            self.read.append(file.name)
            return file_digest(file)

        monkeypatch.setattr(digests_module, "file_digest", count)

    def of(self, table: CropTable, folder: Path) -> list[bytes]:
        self.read.clear()
        digests = FileDigests(table.root, folder)
        found = digests.of(table)
        digests.keep()
        self.read.sort()
        assert found == [bytes.fromhex(file_digest(table.file(row))) for row in range(len(table))]
        return found


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Count:
    return Count(monkeypatch)


def test_files_are_read_once(table: CropTable, tmp_path: Path, count: Count) -> None:
    (tmp_path / "cache").mkdir()
    for expected in (["a.png", "b.png", "c.png"], [], []):
        count.of(table, tmp_path / "cache")
        assert count.read == expected
    (tmp_path / "link").symlink_to(table.root)
    count.of(CropTable(tmp_path / "link", table.paths), tmp_path / "cache")
    assert count.read == []
    shutil.copytree(table.root, tmp_path / "copy")
    count.of(CropTable(tmp_path / "copy", table.paths), tmp_path / "cache")
    assert count.read == ["a.png", "b.png", "c.png"]


def test_a_changed_file_is_read_again(table: CropTable, tmp_path: Path, count: Count) -> None:
    (tmp_path / "cache").mkdir()
    count.of(table, tmp_path / "cache")
    times = table.file(1).stat()
    table.file(0).write_text("longer")
    table.file(1).write_text("B.png")  # the same size, and the same time of change on purpose
    os.utime(table.file(1), ns=(times.st_atime_ns, times.st_mtime_ns))
    count.of(table, tmp_path / "cache")
    assert count.read == ["a.png", "b.png"]


def test_a_file_that_changed_just_now_is_not_trusted(
    table: CropTable, tmp_path: Path, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(digests_module, "_SETTLED_NS", 10**12)
    for _ in range(2):
        count.of(table, tmp_path / "cache")
        assert len(count.read) == 3
    assert list((tmp_path / "cache").iterdir()) == []


def test_two_processes_keep_what_each_has_read(table: CropTable, tmp_path: Path, count: Count) -> None:
    (tmp_path / "cache").mkdir()
    one, two = (FileDigests(table.root, tmp_path / "cache") for _ in range(2))
    one.of(table.select([0]))
    two.of(table.select([1, 2]))
    one.keep()
    two.keep()
    count.of(table, tmp_path / "cache")
    assert count.read == []


@pytest.mark.parametrize("junk", [b"", b"{", b'{"files": {"a.png": [1, 2, 3, "zz"]}}', b"\0" * 1000])
def test_a_damaged_file_of_digests_is_ignored(table: CropTable, tmp_path: Path, count: Count, junk: bytes) -> None:
    (tmp_path / "cache").mkdir()
    count.of(table, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(junk)
    for expected in (3, 0):
        count.of(table, tmp_path / "cache")
        assert len(count.read) == expected


def test_no_digest_and_no_error(table: CropTable, tmp_path: Path) -> None:
    table.file(0).unlink()
    digests = FileDigests(table.root, tmp_path / "none" / "cache")
    told: list[tuple[int, int]] = []
    assert digests.of(table, lambda *step: told.append(step))[0] == NO_DIGEST
    assert told == [(1, 3), (2, 3), (3, 3)]
    digests.keep()  # the folder is not there
    assert not (tmp_path / "none").exists()

"""Arrays in memory or on disk, and how much memory is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from resight.common import memory


def test_an_array_that_fits_is_held_and_a_larger_one_is_mapped() -> None:
    held = memory.room_for((3, 5), np.float32, memory=60)
    mapped = memory.room_for((3, 5), np.float32, memory=59)
    assert type(held) is np.ndarray
    assert isinstance(mapped, np.memmap)
    for array in (held, mapped):
        assert array.shape == (3, 5)
        assert array.dtype == np.float32
    mapped[:] = np.arange(15).reshape(3, 5)
    assert mapped[2].tolist() == [10, 11, 12, 13, 14]


def test_by_default_an_array_may_take_a_third_of_the_memory_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 300)
    assert type(memory.room_for((100,), np.uint8)) is np.ndarray
    assert isinstance(memory.room_for((101,), np.uint8), np.memmap)


def test_the_file_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mapped = memory.room_for((1 << 16,), np.uint8, memory=0)
    mapped[:] = 7
    assert mapped.sum() == 7 << 16
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [
        ("max", 0, 8 << 30),
        (3 << 30, 1 << 30, 2 << 30),
        (16 << 30, 1 << 30, 8 << 30),  # the system has less left than the container may take
        (1 << 30, 1 << 30, 1 << 28),  # nothing left: the least that is assumed
    ],
)
def test_the_limit_of_a_container_counts(
    limit: str | int, used: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n", encoding="ascii")
    (tmp_path / "memory.current").write_text(f"{used}\n", encoding="ascii")
    monkeypatch.setattr(memory, "Path", lambda _: tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 8 << 30}))
    assert memory.available_memory() == expected


def test_without_a_container_the_system_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "Path", lambda _: tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 8 << 30}))
    assert memory.available_memory() == 8 << 30

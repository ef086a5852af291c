"""Files kept between runs: whole or not there, sealed, and swept after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resight.crops.kept import read_sealed, replacing, sweep_parts, write_sealed

STEM = "0123456789abcdef0123456789abcdef-128x64"


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    file.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replacing(file) as stream:
        print(stream.write(b"new") / 0)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
    with replacing(file) as stream, replacing(file) as other:  # as two processes would
        stream.write(b"one")
        other.write(b"two")
        assert len(list(tmp_path.iterdir())) == 3
    assert file.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [file]


def test_any_change_breaks_the_seal(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_sealed(file, {"unreadable": {"3": "ü"}, "checksums": [1, 23]})
    assert read_sealed(file) == {"unreadable": {"3": "ü"}, "checksums": [1, 23]}
    whole = file.read_bytes()
    for place in range(len(whole)):
        for changed in (whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], whole[:place]):
            file.write_bytes(changed)
            assert read_sealed(file) is None
    for junk in (b"", b"[]", b"7", b"{}", b"\0" * 99, b"\xff\xfe", b"[" * 100_000, os.urandom(99)):
        file.write_bytes(junk)
        assert read_sealed(file) is None
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "none.json")


def old(file: Path) -> Path:
    file.write_bytes(b"half")
    os.utime(file, (time.time() - 100, time.time() - 100))
    return file


def test_parts_of_dead_processes_are_swept(tmp_path: Path) -> None:
    for name in (
        f"{STEM}.npy.0badcafe.part",
        f"{STEM}.999.part",
        f"{STEM}.999.index",
        "digests-0123456789abcdef.json.1.part",
    ):
        old(tmp_path / name)
    kept = [old(tmp_path / name) for name in (f"{STEM}.npy", f"{STEM}.json", "thesis.part", "notes.1.part")]
    fresh = tmp_path / f"{STEM}.npy.1badcafe.part"
    fresh.write_bytes(b"half")
    sweep_parts(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, fresh])
    sweep_parts(tmp_path / "none")


def test_a_part_that_is_being_written_is_not_swept_until_its_process_is_killed(tmp_path: Path) -> None:
    script = f"""
import os, sys, time
from pathlib import Path
from resight.crops.kept import replacing
with replacing(Path(sys.argv[1]) / "{STEM}.npy") as stream:
    stream.write(b"half")
    stream.flush()
    os.utime(stream.fileno(), (0, 0))
    print("ready", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (part,) = tmp_path.iterdir()
        sweep_parts(tmp_path)
        assert list(tmp_path.iterdir()) == [part]
        process.kill()
    sweep_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []

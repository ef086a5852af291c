"""The commands about crops, without the synthetic world."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


def test_thin(painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    counts, spreads = [], []
    for how in ("unbalanced", "balanced"):
        file = tmp_path / f"{how}.csv"
        status, out, _ = resight(
            "thin", "--data", painted, "--train-identities", 9, "--to", file, "--how", how, "--seed", 1
        )
        assert status == 0
        with file.open() as stream:
            rows = list(csv.DictReader(stream))
        counts.append(sum(row["split"] == "train" for row in rows))
        kept = Counter(row["identity"] for row in rows if row["split"] == "train")
        spread = f"of {len(kept)} identities, {min(kept.values())} to {max(kept.values())} crops each"
        assert f"{counts[-1]} of 72 training crops are left, {spread}; the table is in {file}." in out
        spreads.append((min(kept.values()), max(kept.values())))
        assert sum(row["split"] != "train" for row in rows) == 24
        assert resight("check", file)[0] == 0
    assert counts[0] == counts[1]
    assert 0 < counts[0] < 72
    assert spreads[1][1] - spreads[1][0] <= 2 < spreads[0][1] - spreads[0][0]


def test_check(painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = resight("check", painted, "--train-identities", 9)
    lines = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    assert status == 0
    assert lines[0] == f"96 crops in {painted} (market1501)"
    for line in ("crops 72 6 18", "identities 9 3 3", "camera 1 36 3 9", "camera 2 36 3 9"):
        assert line in lines
    assert "All 96 files can be decoded." in lines
    assert lines[-1] == (f"Next: resight train --data {painted} --train-identities 9")
    (tmp_path / "a.png").write_bytes(b"no picture")
    status, out, _ = resight("check", tmp_path)
    assert status == 1
    assert "1 of 1 files cannot be decoded" in out


def test_lists_are_as_long_as_asked_for(tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").touch()
    out = resight("check", tmp_path, "--limit", 2)[1]
    assert "… and 3 more" in out
    assert "5 of 5 files cannot be decoded: mend them or take them out. --limit 5 lists them all." in out
    assert "more" not in resight("check", tmp_path)[1]


def tail(out: str, lines: int = 1) -> str:
    return " ".join(" ".join(out.splitlines()[-lines:]).split())


def paint(root: Path, *names: str, size: tuple[int, int] = (16, 32)) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number % 256, number // 256, 7)).save(root / name)
    return root


def test_check_ends_with_what_suits_the_data(tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    train = "resight train --data"
    flat = paint(tmp_path / "my crops", *(f"{n}.png" for n in range(9)))
    cases = [(flat, f"{train} '{flat}'")]
    cameras = paint(tmp_path / "cameras", *(f"cam{n % 2}/{n}.png" for n in range(9)))
    cases.append((cameras, f"{train} {cameras}"))
    one = paint(tmp_path / "one", *(f"cam0/{n}.png" for n in range(9)))
    cases.append((one, f"{train} {one}"))
    people = paint(tmp_path / "people", *(f"{n % 6:04d}/{n}.png" for n in range(18)))
    cases.append((people, f"resight check {people} --format identities"))
    frames = paint(tmp_path / "frames", "1.jpg", "2.jpg", size=(640, 480))
    cases.append((frames, f"cut the crops out of the frames, then resight check {frames}"))
    market = paint(
        tmp_path / "market", *(f"bounding_box_train/{n % 6:04d}_c{n % 2}s1_000001_{n:02d}.png" for n in range(18))
    )
    cases.append((market, f"{train} {market} --train-identities 3"))
    tests = tmp_path / "tests.csv"
    tests.write_text("path,identity,split\nmy crops/1.png,1,query\nmy crops/2.png,1,gallery\n")
    cases.append((tests, f"resight evaluate RUN --data {tests}"))
    for data, expected in cases:
        status, out, _ = resight("check", data)
        assert (status, tail(out)) == (0, f"Next: {expected}")
    status, out, _ = resight("check", people, "--format", "identities")
    assert (status, tail(out)) == (0, f"Next: {train} {people} --format identities --train-identities 4")
    paint(flat, "10.png")
    (flat / "10.png").write_bytes(b"")
    status, out, _ = resight("check", flat)
    assert (status, tail(out)) == (
        1,
        f"Next: mend or take out the files that cannot be decoded, then resight check '{flat}'",
    )


def test_the_next_command_works(tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    people = paint(tmp_path / "people", *(f"{n % 6:04d}/{n}.png" for n in range(18)))
    for _ in range(2):
        out = resight("check", people)[1]
        words = shlex.split(out.splitlines()[-1])
        assert words[:3] == ["Next:", "resight", "check"]
        status, out, err = resight(*words[2:])
        assert (status, err) == (0, "")
        assert "identities │ 6" in " ".join(out.replace("│", " │ ").split())


def test_check_remarks(tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    people = paint(tmp_path / "people", *(f"{n % 40:04d}/{n}.png" for n in range(80)))
    _, out, _ = resight("check", people)
    words = " ".join(out.split())
    assert f"Note: The 40 sub-folders of {people}, such as '0000', are read as cameras, but look like" in words
    assert "Note: There are only 80 crops to train on." in words
    assert "… and 20 more cameras" in words


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_any_name_is_printed_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    names = ["img[front].jpg", "[bold]x[bold].png", "é–日本.png", ":smile:.png"]
    paint(tmp_path, *names)
    for name in names:
        (tmp_path / f"broken {name}").write_bytes(b"junk")
    shutil.copy(tmp_path / names[0], tmp_path / os.fsdecode(b"stra\xdfe.jpg"))
    done = subprocess.run(
        [sys.executable, "-m", "resight", "check", str(tmp_path)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "120"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    out = done.stdout.decode(encoding)
    for name in ("broken img[front].jpg", "broken [bold]x[bold].png", "broken :smile:.png", r"stra\udcdfe.jpg"):
        assert name in out
    assert ("broken é–日本.png".encode(encoding, "backslashreplace")).decode(encoding) in out
    done = subprocess.run(
        [sys.executable, "-m", "resight", "check", str(tmp_path / "日本[red]")],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"resight: There is nothing at ")
    assert b"[red]" in done.stderr

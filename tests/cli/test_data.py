"""The commands about crops, without the synthetic world."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path


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
    assert lines[-1] == "All 96 files can be decoded."
    (tmp_path / "a.png").write_bytes(b"no picture")
    status, out, _ = resight("check", tmp_path)
    assert status == 1
    assert "1 of 1 files cannot be decoded" in out


def test_lists_are_as_long_as_asked_for(tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").touch()
    assert "… and 3 more" in resight("check", tmp_path, "--limit", 2)[1]
    assert "more" not in resight("check", tmp_path)[1]

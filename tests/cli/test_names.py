"""File names that are not Unicode, or that look like markup, from training to the written tables."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def test_names_that_are_not_unicode_are_named_and_reach_no_table(
    run: Path, painted: Path, tiny: dict[str, object], tmp_path: Path, resight: Callable[..., tuple[int, str, str]]
) -> None:
    crops = tmp_path / os.fsdecode(b"stra\xdfe")  # the folder's name is nobody's business
    shutil.copytree(painted, crops)
    names = sorted(file.name for file in painted.iterdir())
    (crops / names[0]).rename(crops / "0001_c1s1_[red]000000_01.png")
    bad = os.fsdecode(b"0002_c1s1_000\xdf_01.png")
    (crops / names[1]).rename(crops / bad)
    lines = [f"{name}={value}" for name, value in (tiny | {"epochs": 1, "max_unreadable": 0.1}).items()]
    status, _, err = resight(
        "train", "cluster_contrast", "--data", crops, "--format", "folder", "--out", tmp_path / "run", "-q", *lines
    )
    assert status == 0
    assert (
        r"1 unreadable crops left out: 0002_c1s1_000\udcdf_01.png" in err.encode("ascii", "backslashreplace").decode()
    )
    data = json.loads((tmp_path / "run" / "data.json").read_text(encoding="utf-8"))
    assert data["unreadable"] == [[bad, "its name is not valid Unicode; rename it"]]
    expected = sorted(file.name for file in crops.iterdir() if file.name != bad)
    for name in ("e.parquet", "e.npz"):
        status, out, _ = resight(
            "embed", tmp_path / "run", "--data", crops, "--format", "folder", "--to", tmp_path / name
        )
        assert status == 0
        assert "its name is not valid Unicode; rename it" in out
    assert pq.read_table(tmp_path / "e.parquet").column("path").to_pylist() == expected
    assert np.load(tmp_path / "e.npz")["path"].tolist() == expected
    words = ("--data", crops, "--format", "folder", "--to", tmp_path / "c.csv", "--eps", "0.9", "--min-samples", "1")
    assert resight("cluster", tmp_path / "run", *words)[0] == 0
    with (tmp_path / "c.csv").open(encoding="utf-8") as stream:
        assert [row["path"] for row in csv.DictReader(stream)] == expected
    status, _, err = resight("thin", "--data", crops, "--format", "market1501", "--to", tmp_path / "t.csv")
    assert status == 2
    assert err.count("\n") == 1
    assert not (tmp_path / "t.csv").exists()


def test_too_many_unreadable_crops_are_not_answered_by_an_option_that_is_not_there(
    run: Path, painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]
) -> None:
    crops = shutil.copytree(painted, tmp_path / "crops")
    for file in sorted(crops.iterdir())[:5]:
        file.write_bytes(b"junk")
    status, _, err = resight("embed", run, "--data", crops, "--to", tmp_path / "e.npz", "--cache", tmp_path / "cache")
    assert status == 2
    assert err.rstrip().endswith("Mend or remove them ('resight check' lists them all).")
    status, _, err = resight(
        "train", "cluster_contrast", "--data", crops, "--out", tmp_path / "run", "--cache", tmp_path / "cache"
    )
    assert status == 2
    assert err.rstrip().endswith("or raise max_unreadable.")

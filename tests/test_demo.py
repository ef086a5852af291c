"""The demo on a small world: everything it promises is there, and a second call makes none of it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from resight.cli.app import app

SMALL = [
    "epochs=1",
    "sampling.iterations=2",
    "sampling.clusters=4",
    "encoder.backbone=resnet18",
    "encoder.weights=none",
    "encoder.width_multiplier=0.25",
    "encoder.height=64",
    "encoder.width=32",
    "encoder.freeze_norms=false",
    "precision=float32",
]


def test_demo_makes_what_it_says_and_uses_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ["demo", "--out", str(tmp_path / "demo"), "--crops", "400", "--quiet", *SMALL]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    named = ["world", "run", "retrieval-before.png", "retrieval-after.png", "clusters.png"]
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {*named, "pixels"}
    for name in named:
        assert str(tmp_path / "demo" / name) in first.output
    assert "before training" in first.output
    assert "rendered 400 crops" in first.output
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*") if path.suffix in (".jpg", ".pt")
    }
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 0, second.output
    assert "rendered" not in second.output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    table = [line for line in first.output.splitlines() if "after" in line and "│" in line]
    assert table == [line for line in second.output.splitlines() if "after" in line and "│" in line]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "mine.txt").write_text("mine")
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path), "--crops", "400", "--quiet"])
    assert done.exit_code != 0
    assert (tmp_path / "world" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "run").exists()

"""The demo on a small world: everything it promises is there, and a second call makes none of it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from resight import ResightError
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
    made = [path for path in (tmp_path / "demo").rglob("*") if path.suffix in (".jpg", ".pt")]
    before = {path: path.stat().st_mtime_ns for path in made}
    assert len(before) == 400 + 1
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 0, second.output
    assert "rendered" not in second.output
    assert {path: path.stat().st_mtime_ns for path in before} == before
    scores = [
        [line.split("│")[1:4] for line in done.output.splitlines() if "│ after" in line] for done in (first, second)
    ]
    assert scores[0] == scores[1]
    assert len(scores[0]) == 1
    assert all(0 < float(cell) <= 100 for cell in scores[0][0][1:])


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "mine.txt").write_text("mine")
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path), "--crops", "400", "--quiet"])
    assert isinstance(done.exception, ResightError)
    assert "it is not a synthetic world: choose a new folder" in str(done.exception)
    assert (tmp_path / "world" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path), "--crops", "400", "-q", "--device", "tpu"])
    assert isinstance(done.exception, ResightError)
    assert "There is no device 'tpu'" in str(done.exception)
    assert not list(tmp_path.iterdir())

"""The command that trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


def test_folders_are_numbered_and_what_is_next_is_said(
    painted: Path,
    tiny: dict[str, object],
    tmp_path: Path,
    resight: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = [f"{name}={value}" for name, value in (tiny | {"epochs": 1}).items()]
    words = ("train", "cluster_contrast", "--data", painted, *settings, "-q", "--device", "cpu")
    status, out, _ = resight(*words, "--train-identities", 8)
    run = Path("runs/cluster_contrast-1")
    scores = json.loads((run / "evaluation.json").read_text())
    assert status == 0
    rates = [f"{100 * scores[name]:.1f}" for name in ("mAP", "rank1", "rank5", "rank10", "mINP")]
    assert rates in [[cell.strip() for cell in line.split("│")][1:-1] for line in out.splitlines()]
    assert f"The model and its metrics are in {run}." in out
    assert f"Next: resight cluster {run} --data {painted} --to identities.csv" in out
    status, out, _ = resight(*words)
    assert status == 0
    assert "The model and its metrics are in runs/cluster_contrast-2." in out
    assert "No identities were held out (--train-identities N does so)" in out
    assert not Path("runs/cluster_contrast-2/evaluation.json").exists()

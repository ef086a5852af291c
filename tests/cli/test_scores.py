"""The commands that score models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path


def test_evaluate(run: Path, painted: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    words = ("evaluate", run, "--data", painted, "--train-identities", 8, "-q")
    status, out, _ = resight(*words, "--json")
    scores = json.loads(out)
    saved = json.loads((run / "evaluation.json").read_text())
    assert status == 0
    assert scores["mAP"] == saved["mAP"]
    assert scores["scored_queries"] == 8
    assert scores["epoch"] == 3
    _, out, _ = resight(*words, "--rerank", "--k1", 4, "--ap", "trapezoidal", "--clustering")
    assert "re-ranked with k1=4, k2=6, lam=0.3" in out
    assert "AP trapezoidal" in out
    assert "Clusters of the test crops, by dbscan" in out
    reranked = json.loads(resight(*words, "--rerank", "--k1", 4, "--ap", "trapezoidal", "--json")[1])
    assert reranked["mAP"] != scores["mAP"]
    status, _, err = resight(*words, "--rerank-cameras")
    assert status == 2
    assert "needs crops of at least 3 cameras, and there are 2" in err
    row = [f"{100 * reranked[name]:.1f}" for name in ("mAP", "rank1", "rank5", "rank10", "mINP")]
    assert ["", *row, ""] in [[cell.strip() for cell in line.split("│")] for line in out.splitlines()]


def test_transfer(run: Path, painted: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    words = ("transfer", run, run, "--source-data", painted, "--source-identities", 8, "--data", painted)
    words += ("--train-identities", 6, "-q")
    status, out, _ = resight(*words)
    assert status == 0
    assert [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")] == [
        "crops", "crops to crops, before adaptation", "crops to crops, after adaptation",
    ]  # fmt: skip
    assert f"{run}: cluster_contrast, epoch 3; started from weights none; camera labels in training: none." in out
    rows = json.loads(resight(*words, "--json")[1])
    assert rows[0]["mAP"] == json.loads((run / "evaluation.json").read_text())["mAP"]
    assert rows[1]["mAP"] == rows[2]["mAP"] != rows[0]["mAP"]
    assert len(json.loads(resight("transfer", run, *words[3:], "--json")[1])) == 2


def test_compare(run: Path, painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    other = tmp_path / "a=b"
    shutil.copytree(run, other)
    words = ("compare", f"twice={run},{other}", other, "--data", painted, "--train-identities", 8, "-q")
    status, out, _ = resight(*words, "--draws", 50, "--to", tmp_path / "found.md")
    assert status == 0
    assert "+0.0 (+0.0 to +0.0)" in out
    assert "50 draws, seed 0" in out
    assert "| twice | 2 |" in (tmp_path / "found.md").read_text()
    _, out, _ = resight(*words, "--json", "--to", tmp_path / "found.csv", "--baseline", other)
    found = json.loads(out)
    assert found["baseline"] == str(other)
    assert found["draws"] == 10_000
    assert (tmp_path / "found.csv").read_text().splitlines()[0].startswith("name,runs,mAP,rank1,mAP_difference,mAP_low")
    resight(*words, "--to", tmp_path / "found.json", "--baseline", other)
    assert json.loads((tmp_path / "found.json").read_text()) == found
    for wrong in (("compare", run), ("compare", run, run), ("compare", run, f"={run}"), ("compare", run, "a=,")):
        status, _, err = resight(*wrong, *words[3:])
        assert status, err

"""The commands that show what a run learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def test_every_picture(run: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    for name in ("ranks", "clusters", "attention"):
        status, out, err = resight("show", name, run, "--to", tmp_path / f"{name}.png", "-q")
        assert (status, err) == (0, "")
        assert "is a picture of" in out
    for words in (("tsne", run, "--colour", "camera"), ("curves", run, run), ("cameras", run)):
        status, out, err = resight("show", *words, "--to", tmp_path / f"{words[0]}.svg", "-q")
        assert (status, err) == (0, "")
        assert (tmp_path / f"{words[0]}.svg").read_text(encoding="utf-8").count("<svg") == 1
    assert resight("show", "tsne", run, "--to", tmp_path / "t.jpg", "-q")[0] == 2


def test_report(run: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = resight("report", run, "--to", tmp_path / "r.html", "--crops", 40, "-q")
    assert (status, err) == (0, "")
    assert "is a report of 1 run," in out
    status, _, err = resight("report", run, run, "--to", tmp_path / "r.html", "-q")
    assert status == 2
    assert "named twice" in err


def test_watch(run: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = resight("watch", run)
    assert status == 0
    assert out.splitlines()[-1] == "Epoch 3 of 3: the run is finished."
    assert sum(line.startswith("epoch ") for line in out.splitlines()) == 3
    status, out, _ = resight("watch", run, "--once", "--to", tmp_path / "live.html")
    assert "Epoch 3 of 3" in out
    assert "refresh" not in (tmp_path / "live.html").read_text(encoding="utf-8").split("<style>")[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "adtc-table-2"),
        (("--list",), "dcmip-figure-4"),
    ],
)
def test_list_of_studies(words: tuple[str, ...], said: str, resight: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = resight("study", *words)
    assert status == 0
    assert said in out


def test_a_study_of_ones_own(
    painted: Path, tiny: dict[str, object], tmp_path: Path, resight: Callable[..., tuple[int, str, str]]
) -> None:
    settings = "".join(f"  {name}: {value}\n" for name, value in tiny.items())
    rows = "rows:\n  - {name: a}\n  - {name: b, settings: {optimizer.lr: 0.001}}\n"
    text = f"title: Mine\npaper: mine\nmethod: cluster_contrast\nbaseline: a\nsettings:\n{settings}{rows}"
    (tmp_path / "mine.yaml").write_text(text)
    words = ("study", tmp_path / "mine.yaml", "--data", painted, "--train-identities", 7, "--out", tmp_path / "out")
    assert "No run of the study mine is finished" in resight(*words, "--table", "-q")[2]
    status, _, err = resight(*words, "epochs=1", "-q", "--row", "c")
    assert status == 2
    assert "no row 'c'" in err
    assert "No such" not in err

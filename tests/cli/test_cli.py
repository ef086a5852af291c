from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resight import __version__

COMMANDS = (
    "train", "evaluate", "transfer", "embed", "cluster", "describe", "attention", "check", "thin", "methods", "recipes",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained by the command, in a process of its own."""
    out = tmp_path_factory.mktemp("cli") / "run"
    words = [f"{name}={value}" for name, value in tiny.items()]
    command = [sys.executable, "-m", "resight", "train", "cluster_contrast", "--data", str(painted), "--out", str(out)]
    done = subprocess.run(
        [*command, "--train-identities", "8", "-q", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rank-1" in done.stdout
    assert "epoch 3/3" in done.stderr
    assert "camera labels in training: none" in done.stdout
    return out


def test_version_and_help(resight: Callable[..., tuple[int, str, str]]) -> None:
    assert resight("--version")[1] == f"resight {__version__}\n"
    for command in COMMANDS:
        status, out, _ = resight(command, "--help")
        assert status == 0
        assert f"Example: resight {command}" in " ".join(out.split())


def test_lists(resight: Callable[..., tuple[int, str, str]]) -> None:
    assert "cluster_contrast" in resight("methods")[1]
    assert "default" in resight("recipes")[1]
    assert "clustering.eps" in resight("recipes", "--settings")[1]
    assert "epochs:" in resight("recipes", "--show", "default")[1]


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
    assert "Clusters of the test crops" in out


def test_embed_and_cluster(
    run: Path, painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]
) -> None:
    for name in ("e.npz", "e.parquet"):
        assert resight("embed", run, "--data", painted, "--to", tmp_path / name, "-q")[0] == 0
    arrays, rows = np.load(tmp_path / "e.npz"), pq.read_table(tmp_path / "e.parquet")
    assert np.allclose(np.linalg.norm(arrays["embedding"], axis=1), 1, atol=1e-5)
    assert rows["path"].to_pylist() == arrays["path"].tolist()
    assert np.allclose(np.array(rows["embedding"].to_pylist()), arrays["embedding"])
    assert rows["camera"].to_pylist() == arrays["camera"].tolist()
    status, out, _ = resight("cluster", run, "--data", painted, "--to", tmp_path / "c.csv", "-q")
    with (tmp_path / "c.csv").open() as stream:
        clusters = [int(row["cluster"]) for row in csv.DictReader(stream)]
    assert status == 0
    assert f"{max(clusters) + 1} identities among {len(clusters)} crops" in out
    words = ("cluster", run, "--data", painted, "--to", tmp_path / "c.csv", "--clusters", 12, "-q")
    assert "12 identities among 96 crops, 0 crops in none" in resight(*words)[1]


def test_an_earlier_epoch_can_be_used(
    painted: Path, tiny: dict[str, object], tmp_path: Path, resight: Callable[..., tuple[int, str, str]]
) -> None:
    settings = [f"{name}={value}" for name, value in (tiny | {"keep_every": 2}).items()]
    run, data = tmp_path / "run", ("--data", painted, "--train-identities", 6)
    assert resight("train", "cluster_contrast", *data, "--out", run, *settings, "-q")[0] == 0
    _, out, _ = resight("evaluate", run, *data, "--epoch", 2, "-q")
    assert "Retrieval, epoch 2" in out
    assert "epoch 2;" in out
    scores = [json.loads(resight("evaluate", run, *data, *words, "--json", "-q")[1]) for words in ([], ["--epoch", 2])]
    assert [score["epoch"] for score in scores] == [3, 2]
    for command in ("embed", "cluster", "attention"):
        ending = {"cluster": "f.csv", "attention": "f.png"}.get(command, "f.npz")
        words = (run, "--data", painted, "--to", tmp_path / ending, "--epoch", 1, "-q")
        status, _, err = resight(command, *words)
        assert status == 2
        assert "no weights of epoch 1: kept are the epochs 2" in err


def test_attention(run: Path, painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    words = ("attention", run, "--data", painted, "--cache", tmp_path / "pixels", "-q")
    heights = []
    for crops in (3, 5):
        status, out, err = resight(*words, "--to", tmp_path / f"{crops}.png", "--crops", crops)
        assert (status, err.count("Traceback")) == (0, 0)
        assert f"{crops} crops and maps of their activation are in {tmp_path / f'{crops}.png'}." in out
        with Image.open(tmp_path / f"{crops}.png") as sheet:
            heights.append(sheet.height)
    assert heights[1] > heights[0] + 2 * 192
    assert len(list((tmp_path / "pixels").glob("*.npy"))) == 2  # only what is shown is decoded


def test_attention_shows_what_can_be_read(
    run: Path, painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]
) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    for file in sorted(painted.iterdir())[:3]:
        (crops / file.name).write_bytes(file.read_bytes())
    broken = sorted(crops.iterdir())[1]
    broken.write_bytes(b"no picture")
    status, out, _ = resight("attention", run, "--data", crops, "--to", tmp_path / "m.jpg", "-q")
    assert status == 0
    assert f"left out: {broken.name}" in out
    assert "2 crops and maps" in out


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


def test_thin(painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    counts, told = [], []
    for how in ("unbalanced", "balanced"):
        file = tmp_path / f"{how}.csv"
        status, out, _ = resight(
            "thin", "--data", painted, "--train-identities", 9, "--to", file, "--how", how, "--seed", 1
        )
        assert status == 0
        with file.open() as stream:
            rows = list(csv.DictReader(stream))
        counts.append(sum(row["split"] == "train" for row in rows))
        told.append(f"{counts[-1]} of 72 training crops are left" in out)
        assert sum(row["split"] != "train" for row in rows) == 24
        assert resight("check", file)[0] == 0
    assert counts[0] == counts[1]
    assert 0 < counts[0] < 72
    assert all(told)


def test_check(painted: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = resight("check", painted)
    assert status == 0
    assert "96" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "nothing", "--data", "CROPS"], "There is no method 'nothing'"),
        (["train", "cluster_contrast", "--data", "/nowhere"], "/nowhere"),
        (["train", "cluster_contrast", "--data", "CROPS", "epoch=3"], "Did you mean 'epochs'?"),
        (["train", "cluster_contrast", "--data", "CROPS", "--resume"], "--out"),
        (["evaluate", "CROPS", "--data", "CROPS"], "not a run folder"),
        (["embed", "RUN", "--data", "CROPS", "--to", "e.txt"], ".parquet or .npz"),
        (["attention", "RUN", "--data", "CROPS", "--to", "m.pdf"], "ending in .png or .jpg"),
        (["attention", "CROPS", "--data", "CROPS", "--to", "m.png"], "not a run folder"),
        (["cluster", "RUN", "--data", "CROPS", "--to", "/nowhere/c.csv"], "no folder"),
        (["evaluate", "RUN", "--data", "CROPS"], "--train-identities"),
        (["transfer", "RUN", "CROPS", "--source-data", "CROPS", "--data", "CROPS"], "not a run folder"),
        (["transfer", "RUN", "--source-data", "CROPS", "--data", "CROPS"], "--train-identities"),
        (["thin", "--data", "CROPS", "--to", "t.txt"], ".csv or .parquet"),
        (["describe", "RUN", "--data", "CROPS"], "no reference persons"),
        (["describe", "RUN", "--data", "CROPS", "--to", "d.txt"], ".csv or .parquet"),
        (["train", "cluster_contrast", "--data", "CROPS", "--source", "CROPS"], "does not learn from a source"),
        (["recipes", "nothing"], "There is no method"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str],
    said: str,
    run: Path,
    painted: Path,
    resight: Callable[..., tuple[int, str, str]],
) -> None:
    places = {"CROPS": str(painted), "RUN": str(run)}
    status, _, err = resight(*(places.get(word, word) for word in words))
    assert status == 2
    assert err.startswith("resight: ")
    assert said in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_import_is_quick_and_light() -> None:
    script = (
        "import sys, time; start = time.perf_counter(); import resight; took = time.perf_counter() - start; "
        "print([m for m in ('torch', 'accelerate', 'sklearn', 'numba', 'PIL', 'pyarrow', 'rich', 'pydantic') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_method_with_a_source_describes_crops(
    painted: Path,
    paint_crops: Callable[..., Path],
    tiny: dict[str, object],
    tmp_path: Path,
    resight: Callable[..., tuple[int, str, str]],
) -> None:
    source, run = paint_crops(tmp_path / "source", identities=9, shots=2), tmp_path / "run"
    settings = tiny | {"epochs": 2, "sampling.clusters": 8, "sampling.crops": 1, "sampling.source_crops": 8}
    train = ("train", "mar", "--data", painted, "--train-identities", 6, "--out", run, "-q")
    words = [f"{name}={value}" for name, value in settings.items()]
    assert "name them with --source PATH" in resight(*train, *words)[2]
    status, out, err = resight(*train, "--source", source, "--source-identities", 7, *words)
    assert status == 0, err
    assert f"labels of another set in training: 28 crops of 7 people in {source}" in " ".join(out.split())
    assert "multilabels of 7 persons in 0 MB" in err
    status, out, _ = resight("describe", run, "--data", painted, "--top", 2, "--crops", 4, "-q")
    assert status == 0
    assert out.count("_c") == 4
    assert "7 of the source" in out
    for name in ("d.csv", "d.parquet"):
        out = resight("describe", run, "--data", painted, "--top", 2, "--to", tmp_path / name, "-q")[1]
        assert "96 crops, each with 2 of 7 persons" in out
    with (tmp_path / "d.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    columns = pq.read_table(tmp_path / "d.parquet").to_pydict()
    for place in ("1", "2"):
        assert [row[f"person_{place}"] for row in rows] == columns[f"person_{place}"]
        assert {row[f"person_{place}"] for row in rows} <= set("1234567")
    assert all(0 < float(row["share_2"]) <= float(row["share_1"]) < 1 for row in rows)

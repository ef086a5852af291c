"""The commands that use a trained model."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resight import load, read_crops


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
    assert "What can be known without labels: " in out
    with (tmp_path / "c.csv").open() as stream:
        clusters = [int(row["cluster"]) for row in csv.DictReader(stream)]
    assert status == 0
    assert f"{max(clusters) + 1} identities among {len(clusters)} crops" in out
    words = ("cluster", run, "--data", painted, "--to", tmp_path / "c.csv", "--clusters", 12, "-q")
    assert "12 identities among 96 crops, 0 crops in none, by bottom_up; the table is in" in resight(*words)[1]


def test_cluster_by_what_is_asked_for(
    run: Path, painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]
) -> None:
    model, table = load(run, "cpu"), read_crops(painted)
    features = model.embed(table)

    def clusters(*words: object) -> list[int]:
        status, _, err = resight("cluster", run, "--data", painted, "--to", tmp_path / "c.csv", "-q", *words)
        assert status == 0, err
        with (tmp_path / "c.csv").open() as stream:
            return [int(row["cluster"]) for row in csv.DictReader(stream)]

    found = {
        words: (clusters(*words), model.cluster(features, table, **options).labels.tolist())
        for words, options in {
            (): {},
            ("--eps", 0.4, "--min-samples", 3): {"eps": 0.4, "min_samples": 3},
            ("clustering.eps=0.4", "k1=6"): {"eps": 0.4, "k1": 6},
            ("--algorithm", "dbscan"): {},
            ("--algorithm", "two_stage", "crops_per_cluster=6", "method.nearest=5"): {
                "algorithm": "two_stage", "crops_per_cluster": 6, "nearest": 5,
            },
            ("--algorithm", "two_stage", "--clusters", 9): {"algorithm": "two_stage", "clusters": 9},
            ("--algorithm", "bottom_up"): {"algorithm": "bottom_up"},
            ("--clusters", 7): {"clusters": 7},
            ("clusters=8",): {"clusters": 8},
        }.items()
    }  # fmt: skip
    for words, (written, expected) in found.items():
        assert written == expected, words
    assert len({tuple(written) for written, _ in found.values()}) == len(found) - 1  # dbscan is the run's


def test_the_advice_for_crops_that_do_not_cluster_works(
    run: Path, painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]
) -> None:
    words = ("cluster", run, "--data", painted, "--to", tmp_path / "c.csv", "-q")
    status, _, err = resight(*words, "--eps", 0.01)
    assert status == 2
    advice = err.partition("Try ")[2].partition(",")[0]
    assert advice.startswith("clustering.eps=0.")
    assert resight(*words, advice)[0] == 0


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
    for command in ("embed", "cluster", "show attention"):
        ending = {"cluster": "f.csv", "show attention": "f.png"}.get(command, "f.npz")
        words = (run, "--data", painted, "--to", tmp_path / ending, "--epoch", 1, "-q")
        status, _, err = resight(*command.split(), *words)
        assert status == 2
        assert "no weights of epoch 1: kept are the epochs 2" in err


def test_attention(run: Path, painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]) -> None:
    words = ("show", "attention", run, "--data", painted, "--cache", tmp_path / "pixels", "-q")
    heights = []
    for crops in (3, 5):
        status, out, err = resight(*words, "--to", tmp_path / f"{crops}.png", "--crops", crops)
        assert (status, err) == (0, "")
        assert f"{tmp_path / f'{crops}.png'} is a picture of " in out
        with Image.open(tmp_path / f"{crops}.png") as sheet:
            heights.append(sheet.height)
    assert heights[1] > heights[0] + 2 * 192
    assert len(list((tmp_path / "pixels").glob("*.npy"))) == 2  # only what is shown is decoded


def test_a_failed_write_leaves_the_old_picture(
    run: Path,
    painted: Path,
    tmp_path: Path,
    resight: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    words = ("show", "attention", run, "--data", painted, "--to", tmp_path / "m.png", "-q")
    assert resight(*words, "--crops", 1)[0] == 0
    before = (tmp_path / "m.png").read_bytes()
    monkeypatch.setattr("os.fsync", full_disk)
    status, _, err = resight(*words, "--crops", 1)
    assert status == 2
    assert "m.png could not be written: No space left on device. Free some space on that disk." in err
    assert (tmp_path / "m.png").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.png"]


def test_attention_shows_what_can_be_read(
    run: Path, painted: Path, tmp_path: Path, resight: Callable[..., tuple[int, str, str]]
) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    for file in sorted(painted.iterdir())[:3]:
        (crops / file.name).write_bytes(file.read_bytes())
    broken = sorted(crops.iterdir())[1]
    broken.write_bytes(b"no picture")
    status, out, _ = resight("show", "attention", run, "--data", crops, "--to", tmp_path / "m.jpg", "-q")
    assert status == 0
    assert f"left out: {broken.name}" in out
    assert "m.jpg is a picture of " in out


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
    assert f"labels of another set in training: 28 crops of 7 identities in {source}" in " ".join(out.split())
    assert "multilabels of 7 reference identities in 0 MB" in err
    status, out, _ = resight("describe", run, "--data", painted, "--top", 2, "--crops", 4, "-q")
    assert status == 0
    assert out.count("_c") == 4
    assert "The names are those of the 7 identities of the source; --to FILE writes all 96 crops." in out
    for name in ("d.csv", "d.parquet"):
        out = resight("describe", run, "--data", painted, "--top", 2, "--to", tmp_path / name, "-q")[1]
        assert "96 crops, each with 2 of 7 reference identities" in out
    with (tmp_path / "d.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    columns = pq.read_table(tmp_path / "d.parquet").to_pydict()
    for place in ("1", "2"):
        assert [row[f"reference_{place}"] for row in rows] == columns[f"reference_{place}"]
        assert {row[f"reference_{place}"] for row in rows} <= set("1234567")
    assert all(0 < float(row["share_2"]) <= float(row["share_1"]) < 1 for row in rows)

"""Tracks in the commands that use a model, and ``resight journeys``."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import resight as package
from resight import CropTable, read_crops
from resight.analysis import moves, shortest_times
from resight.clustering import Tracks
from resight.crops import write_table
from resight.journeys import cluster_possible, follow

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def timed(painted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the crops with times, tracks and quality: identity by identity, camera 2 half a minute after 1."""
    table = read_crops(painted)
    assert table.identity is not None
    assert table.camera is not None
    shot = np.arange(len(table)) % 4
    begin = 1.7e9 + 100.0 * table.identity + 33.0 * (table.camera - 1)
    return write_table(
        CropTable(
            root=table.root,
            paths=table.paths,
            camera=table.camera,
            camera_names={1: "gate", 2: "hall"},
            time=begin + shot,
            track=table.identity,
            quality=0.1 + 0.2 * shot,
            track_from=begin - 1,
            track_to=begin + 4,
        ),
        tmp_path_factory.mktemp("timed") / "crops.csv",
    )


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


def test_tracks_in_clusters_and_embeddings(run: Path, timed: Path, tmp_path: Path, resight: Command) -> None:
    few = ("k1=4", "eps=0.35", "min_samples=2")  # so that clusters are smaller than tracks
    words = ("cluster", run, *few, "--data", timed, "--to", tmp_path / "c.csv", "-q")
    status, out, err = resight(*words)
    assert status == 0, err
    assert "Each track has one identity: " in out
    found = {}
    for row in rows_of(tmp_path / "c.csv"):
        found.setdefault((row["camera"], row["track"]), set()).add(row["cluster"])
    assert len(found) == 24
    assert {len(clusters) for clusters in found.values()} == {1}
    status, out, _ = resight(*words, "--no-tracks")
    assert "The crops have tracks, which were not used." in out
    plain = [int(row["cluster"]) for row in rows_of(tmp_path / "c.csv")]
    model, table = package.load(run, "cpu"), read_crops(timed)
    features = model.embed(table)
    assert plain == model.cluster(features, table, k1=4, eps=0.35, min_samples=2, tracks=False).labels.tolist()
    assert "--no-tracks" in out.partition("Next:")[2]

    status, out, err = resight("embed", run, "--data", timed, "--to", tmp_path / "t.parquet", "--tracks", "-q")
    assert status == 0, err
    assert "24 tracks of 96 crops (weighted by quality)" in out
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert table.quality is not None
    for row in rows:
        own = np.array([f"{name}" for name in table.paths]) == row["path"]
        assert table.quality[own] == pytest.approx(0.7)  # the best of its track
        inside = (table.track == row["track"]) & (table.camera == table.camera[own])
        mean = table.quality[inside] @ features[inside]
        np.testing.assert_allclose(row["embedding"], mean / np.linalg.norm(mean), atol=1e-4)
        assert (row["crops"], row["track_to"] - row["track_from"]) == (4, 5.0)
    tracks, means = model.embed_tracks(table, features)
    assert isinstance(tracks, Tracks)
    np.testing.assert_allclose(means, [row["embedding"] for row in rows], atol=1e-5)
    assert resight("embed", run, "--data", timed, "--to", tmp_path / "t.npz", "--tracks", "-q")[0] == 0
    assert set(np.load(tmp_path / "t.npz")) == {
        "path",
        "embedding",
        "camera",
        "track",
        "track_from",
        "track_to",
        "crops",
    }


def test_journeys_of_a_run_and_of_a_table(
    run: Path, painted: Path, timed: Path, tmp_path: Path, resight: Command
) -> None:
    pytest.importorskip("matplotlib")
    few = ("k1=8", "k2=3", "eps=0.6")
    words = ("journeys", run, *few, "--data", timed, "-q")
    status, out, err = resight(*words, "--to", tmp_path / "j")
    assert status == 0, err
    assert "Confident moves are those" in out
    assert "gate: 2023-11-14 " in out
    written = rows_of(tmp_path / "j" / "journeys.csv")
    model, table = package.load(run, "cpu"), read_crops(timed)
    features = model.embed(table)
    labels = model.cluster(features, table, k1=8, k2=3, eps=0.6).labels
    found = follow(table, labels, features)
    expected = [(way.cluster, *stay) for way in sorted(found.journeys, key=lambda w: w.cluster) for stay in way.stays]
    for row, (identity, camera, first, last, crops) in zip(written, expected, strict=True):
        assert (int(row["identity"]), row["camera"]) == (identity, {1: "gate", 2: "hall"}[camera])
        assert (float(row["from"]), float(row["to"]), int(row["crops"])) == (first, last, crops)
        assert row["from_utc"].startswith("2023-11-14T22:")
    assert (np.array([float(row["to"]) - float(row["from"]) for row in written]) % 1 == 0).all()
    assert (tmp_path / "j" / "journeys.png").stat().st_size > 5000
    learnt = rows_of(tmp_path / "j" / "transitions.csv")
    assert [int(row["confident"]) for row in learnt] == [one.count for one in found.transitions]

    status, out, err = resight(
        "journeys", tmp_path / "j" / "identities.csv", "--to", tmp_path / "again", "--tables", "parquet", "-q"
    )
    assert status == 0, err
    assert "All moves are counted" in out
    again = pq.read_table(tmp_path / "again" / "journeys.parquet").to_pylist()
    assert [row["identity"] for row in again] == [int(row["identity"]) for row in written]
    assert [row["from"] for row in again] == [float(row["from"]) for row in written]
    for wrong, said in (
        (("journeys", timed, "--to", tmp_path / "x"), "no column 'cluster'"),
        ((*words, "--to", tmp_path / "x", "--boxes"), "not made by 'resight ingest'"),
        (("journeys", run, "--to", tmp_path / "x"), "name them with --data"),
        (("journeys", run, "--data", painted, "--to", tmp_path / "x"), "count frames of each camera by itself"),
        (("journeys", tmp_path / "j" / "identities.csv", "--to", tmp_path / "x", "--impossible", 0.5), "need a run"),
    ):
        status, _, err = resight(*wrong, "-q")
        assert (status, said in " ".join(err.split())) == (2, True), err


def test_impossible_moves_weigh_less(run: Path, timed: Path, tmp_path: Path, resight: Command) -> None:
    pytest.importorskip("matplotlib")
    model, table = package.load(run, "cpu"), read_crops(timed)
    assert table.identity is None
    features = model.embed(table)
    few = {"k1": 8, "k2": 3, "eps": 0.6}
    truth = follow(table, np.asarray(table.track) - 1, features)
    truth = replace(truth, moves=[replace(move, sure=True) for move in truth.moves])
    assert shortest_times(truth.moves) == {(1, 2): pytest.approx(28)}
    same, counts = cluster_possible(model, table, features, truth, 1.0, **few)
    assert (same.labels == model.cluster(features, table, **few).labels).all()
    assert counts["camera_pairs"] == 1
    labels, counts = cluster_possible(model, table, features, truth, 0.0, **few)
    assert labels.num_clusters > 0
    words = ("journeys", run, "k1=8", "k2=3", "eps=0.6", "--data", timed, "--to", tmp_path / "j", "-q")
    status, out, err = resight(*words, "--impossible", 0.5)
    assert status == 0, err
    assert "Times used in clustering: " in out
    assert moves(truth.journeys)[0].time == 28

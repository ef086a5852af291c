"""Scores on labelled query and gallery crops, and what they are kept with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import resight
from resight import ResightError
from resight.clustering import NoClusters, clustering_quality
from resight.crops import UNLABELLED
from resight.evaluation import RerankOptions, debias_by_camera, evaluate_splits
from resight.model import Model
from resight.scoring import can_be_scored, labelled_test_crops, save_evaluation
from resight.sentences import describe_scores
from resight.training.run import RunFolder


@pytest.fixture(scope="module")
def model(painted: Path, tiny: dict[str, object], tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("scoring") / "run"
    return resight.train("cluster_contrast", painted, out, settings=tiny | {"epochs": 1})


def test_scores_are_those_of_the_embeddings(model: Model, painted: Path) -> None:
    table = resight.read_crops(painted, train_identities=4)
    tested = table.select(table.split != "train")
    for flip in (False, True):
        features = model.embed(tested, flip=flip)
        for rerank in (None, RerankOptions(k1=4, k2=2)):
            for ap in ("standard", "trapezoidal"):
                expected = evaluate_splits(
                    features, tested.identity, tested.camera, tested.split, ap=ap, rerank=rerank
                ).to_dict()
                scores = resight.evaluate(model, table, flip=flip, rerank=rerank, ap=ap)
                assert scores == expected | {"flip": flip, "debias": "none", "unreadable": 0}
    assert scores["scored_queries"] == 16
    plain = resight.evaluate(model, table)
    assert plain["flip"] == model.config.embed_flip
    assert plain["mAP"] != scores["mAP"]


def test_scores_without_what_cameras_add_are_declared(model: Model, painted: Path) -> None:
    table = resight.read_crops(painted, train_identities=4)
    tested = table.select(table.split != "train")
    compared = debias_by_camera(
        model.embed(tested), tested.camera, form="standardise", reference=tested.split == "gallery"
    )
    expected = evaluate_splits(compared, tested.identity, tested.camera, tested.split).to_dict()
    scores = resight.evaluate(model, table, debias="standardise")
    assert scores == expected | {"flip": model.config.embed_flip, "debias": "standardise", "unreadable": 0}
    assert "camera labels in scoring: debias=standardise" in describe_scores(scores | {"camera_use_in_training": []})
    with pytest.raises(ResightError, match="debias=centre needs the column 'camera'"):
        resight.evaluate(model, replace(table, camera=None), debias="centre")


def test_tracks_are_ranked_by_the_mean_of_their_crops(model: Model, painted: Path) -> None:
    table = resight.read_crops(painted, train_identities=4)
    assert table.camera is not None
    assert table.identity is not None
    assert table.split is not None
    rng = np.random.default_rng(0)
    # two tracks per identity and camera; every query's track has gallery crops, too
    track = 2 * table.identity + np.arange(len(table)) % 2
    quality = rng.uniform(0, 1, len(table))
    features = model.embed(table)
    for weight in (quality, None):
        found = resight.evaluate(model, replace(table, track=track, quality=weight), tracks=True)
        rows: list[tuple[str, int, int, np.ndarray]] = []
        for camera in np.unique(table.camera):
            for number in np.unique(track):
                own = (table.camera == camera) & (track == number) & (table.split != "train")
                if own.any():
                    mean = (np.ones(own.sum()) if weight is None else weight[own]) @ features[own]
                    for split in {*table.split[own].tolist()}:
                        rows.append((split, table.identity[own][0], camera, mean / np.linalg.norm(mean)))
        precisions = []
        for split, identity, camera, mean in rows:
            others = [row for row in rows if row[0] == "gallery" and (row[1], row[2]) != (identity, camera)]
            right = [other[1] == identity for other in sorted(others, key=lambda row: -float(row[3] @ mean))]
            if split == "query" and any(right):
                hits = np.flatnonzero(right) + 1
                precisions.append(np.mean(np.arange(1, len(hits) + 1) / hits))
        assert found["mAP"] == pytest.approx(np.mean(precisions))
        assert found["scored_queries"] == len(precisions)
        kind = "none" if weight is None else "quality"
        assert (found["unit"], found["track_weight"], found["mixed_tracks"]) == ("tracks", kind, 0)
    said = describe_scores(found | {"camera_use_in_training": []})
    assert "gallery tracks; tracks by the mean of their crops' embeddings, all crops alike" in said
    mixed = resight.evaluate(model, replace(table, track=table.identity // 2), tracks=True)
    assert mixed["mixed_tracks"] > 0
    for column in ("camera", "track"):
        with pytest.raises(ResightError, match=f"Scoring tracks needs the column '{column}'"):
            resight.evaluate(model, replace(table, **({"track": track} | {column: None})), tracks=True)


def test_clusters_of_the_test_crops_are_compared_with_their_identities(
    model: Model, painted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = resight.read_crops(painted, train_identities=4)
    tested = table.select(table.split != "train")
    labels = model.cluster(model.embed(tested), tested).labels
    quality = resight.evaluate(model, table, clustering=True)["clustering"]
    assert quality == {"algorithm": "dbscan"} | clustering_quality(labels, tested.identity)
    assert quality["clusters"] > 1

    def nothing(*_: object, **__: object) -> None:
        raise NoClusters("nothing clusters")

    monkeypatch.setattr(Model, "cluster", nothing)
    scores = resight.evaluate(model, table, clustering=True)
    assert (scores["clustering"]["clusters"], scores["clustering"]["outliers"]) == (0, len(tested))
    assert scores["mAP"] > 0


def test_evaluation_needs_identities_and_a_split(model: Model, painted: Path) -> None:
    table = resight.read_crops(painted)
    with pytest.raises(ResightError, match="--train-identities"):
        resight.evaluate(model, table)
    with pytest.raises(ResightError, match="There are no labels to score against"):
        resight.evaluate(model, table.without_labels())


def test_which_tables_can_be_scored(painted: Path) -> None:
    table = resight.read_crops(painted, train_identities=4)
    assert table.identity is not None
    assert table.split is not None
    assert can_be_scored(table)
    assert can_be_scored(labelled_test_crops(table))
    assert not can_be_scored(table.without_labels())
    assert not can_be_scored(replace(table, split=None))
    for lacking in ("query", "gallery"):
        assert not can_be_scored(table.select(table.split != lacking))
    identity = table.identity.copy()
    identity[np.flatnonzero(table.split == "train")[0]] = UNLABELLED
    assert can_be_scored(replace(table, identity=identity))
    identity[np.flatnonzero(table.split == "gallery")[0]] = UNLABELLED
    assert not can_be_scored(replace(table, identity=identity))


def test_the_best_epoch_is_named_where_there_are_several(model: Model, tmp_path: Path) -> None:
    assert model.run is not None
    run = RunFolder(tmp_path / "run")
    run.start(model.config, model.run.read_data())
    for epoch, (mean, rank) in enumerate([(0.3, 0.4), (0.6, 0.5), (0.5, 0.7)], start=1):
        run.append(run.metrics_file, {"epoch": epoch, "test_mAP": mean, "test_rank1": rank})
        saved = save_evaluation(run, {"mAP": mean})
        assert json.loads(run.evaluation_file.read_text()) == saved
        assert (saved["mAP"], saved["epoch"], saved["identity_use_in_training"]) == (mean, epoch, False)
        assert saved["best_epoch"] == (None if epoch == 1 else {"epoch": 2, "mAP": 0.6, "rank1": 0.5})

"""The three clusterings: defaults for any number of crops, the functions they stand for, and their settings."""

from __future__ import annotations

import numpy as np
import pytest

from resight.clustering import (
    NoClusters,
    PseudoLabels,
    bottom_up,
    centre_by_camera,
    cluster_crops,
    merge_clusters,
    two_stage,
)
from resight.errors import ResightError
from resight.identities import ALGORITHMS, BottomUp, Dbscan, TwoStage, build_clustering


def crowd(identities: int = 10, crops: int = 8, spread: float = 0.1, dim: int = 16, seed: int = 0) -> np.ndarray:
    """Features of identities in turn: crop i shows identity i % identities."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, dim))
    features = np.tile(centres, (crops, 1)) + spread * rng.normal(size=(identities * crops, dim))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def same_groups(one: np.ndarray, other: np.ndarray) -> bool:
    pairs = {(a, b) for a, b in zip(one.tolist(), other.tolist(), strict=True)}
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


CAMERAS = np.arange(80) // 10 % 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_finds_clear_identities(algorithm: str) -> None:
    defaults = {"k1": 8, "k2": 3, "crops_per_cluster": 8, "crops_per_identity": 8}
    found = build_clustering(algorithm, defaults, {})(crowd())
    assert same_groups(found.labels, np.arange(80) % 10)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_finds_clear_identities_in_half_of_the_crops(algorithm: str) -> None:
    defaults = {"k1": 8, "k2": 3, "crops_per_cluster": 8, "crops_per_identity": 8, "nearest": 8}
    clustering = build_clustering(algorithm, defaults, {})
    features = crowd()[:40]
    found = clustering.for_half(clustering(crowd()))(features)
    assert same_groups(found.labels, np.arange(40) % 10)


def test_half_of_the_crops_keep_the_settings_that_were_chosen() -> None:
    clustering = Dbscan(k1="auto", eps="auto", k2=6, min_samples=4, camera_jaccard=True)
    half = clustering.for_half(PseudoLabels(np.zeros(4, int), {"k1": 20, "eps": 0.55}))
    assert (half.k1, half.k2, half.eps, half.min_samples, half.intra_k1, half.inter_k1) == (10, 3, 0.55, 2, 2, 10)
    assert Dbscan(k1=1, k2=1, min_samples=1).for_half(PseudoLabels(np.zeros(1, int))).min_samples == 1


def test_dbscan_is_cluster_crops() -> None:
    features = crowd(spread=0.6)
    clustering = Dbscan(k1=8, k2=3, eps=0.5, min_samples=2, centre_cameras=True)
    expected = cluster_crops(features, camera=CAMERAS, k1=8, k2=3, eps=0.5, min_samples=2, centre_cameras=True)
    assert (clustering(features, CAMERAS).labels == expected.labels).all()
    assert expected.num_clusters > 1
    with pytest.raises(NoClusters):
        Dbscan(k1=8, k2=3, eps=0.01)(features)


@pytest.mark.parametrize("second_stage", [True, False])
def test_two_stage_is_two_stage(second_stage: bool) -> None:
    features = crowd(spread=0.6)
    options = {"components": 8, "k1": 9, "k2": 2, "contested": "out", "unwanted": "cluster", "centre_cameras": True}
    expected = two_stage(features, 7, keep=18 if second_stage else None, camera=CAMERAS, **options)
    clustering = TwoStage(clusters=7, nearest=18, second_stage=second_stage, **options)
    assert (clustering(features, CAMERAS).labels == expected.labels).all()
    assert (expected.num_outliers > 0) == second_stage  # crops that several centroids keep


def test_bottom_up_is_bottom_up() -> None:
    features = crowd(spread=0.6)
    expected = bottom_up(features, 9, share=0.1, size_penalty=0.01)
    clustering = BottomUp(clusters=9, merge_share=0.1, size_penalty=0.01)
    assert (clustering(features).labels == expected.labels).all()
    centred = bottom_up(centre_by_camera(features, CAMERAS), 9, share=0.1, size_penalty=0.01)
    assert (clustering.model_copy(update={"centre_cameras": True})(features, CAMERAS).labels == centred.labels).all()
    assert (centred.labels != expected.labels).any()


def test_stages_of_merging_are_those_of_bottom_up() -> None:
    # All crops in cameras of their own: every pair is one of different cameras.
    features = crowd(spread=0.6)
    plain = BottomUp(clusters=9, size_penalty=0.01)(features)
    staged = BottomUp(clusters=9, size_penalty=0.01, merge_cameras="different")(features, np.arange(80))
    assert (staged.labels == plain.labels).all()


def test_squared_distances_merge_as_in_merge_clusters() -> None:
    features = crowd(spread=0.6)
    labels = np.arange(80)
    for merges in (40, 31):  # merge_share=0.5 of 80 crops, then what is left down to 9 clusters
        labels = merge_clusters(features, labels, merges, size_penalty=0.05, squared=True).labels
    options = {"clusters": 9, "merge_share": 0.5, "size_penalty": 0.05}
    assert (BottomUp(**options, squared_distance=True)(features).labels == labels).all()
    assert (BottomUp(**options)(features).labels != labels).any()


def test_pairs_of_one_camera_do_not_merge() -> None:
    features = crowd(identities=4, crops=2)
    found = BottomUp(clusters=1, merge_cameras="different")(features, np.zeros(8))
    assert found.num_clusters == 8  # more than asked for: no pair is left
    crossing = BottomUp(clusters=4, merge_cameras="different")(features, np.arange(8) // 4)
    assert same_groups(crossing.labels, np.arange(8) % 4)


@pytest.mark.parametrize(
    ("clustering", "crops", "clusters"),
    [
        (TwoStage(second_stage=False), 80, 7),  # 80 / 13, rounded up
        (TwoStage(second_stage=False, crops_per_cluster=8), 80, 10),
        (TwoStage(second_stage=False, crops_per_cluster=8, clusters=5), 80, 5),
        (TwoStage(second_stage=False), 5, 2),
        (TwoStage(second_stage=False), 2, 2),
        (BottomUp(), 80, 8),
        (BottomUp(crops_per_identity=3), 80, 27),
        (BottomUp(crops_per_identity=3, clusters=2), 80, 2),
        (BottomUp(), 3, 1),
        (BottomUp(), 1, 1),
    ],
)
def test_the_number_of_clusters_goes_by_the_number_of_crops(
    clustering: TwoStage | BottomUp, crops: int, clusters: int
) -> None:
    found = clustering(crowd(identities=80, crops=1)[:crops])
    assert found.num_clusters == clusters
    assert found.num_outliers == 0


@pytest.mark.parametrize("kind", [TwoStage, BottomUp])
def test_more_clusters_than_crops(kind: type[TwoStage | BottomUp]) -> None:
    with pytest.raises(ResightError, match="9 clusters were asked for, but there are 8 crops: ask for fewer"):
        kind(clusters=9)(crowd(identities=8, crops=1))


def test_one_crop_is_too_few_for_two_stages() -> None:
    with pytest.raises(ResightError, match="needs at least 2 crops, and there are 1"):
        TwoStage()(crowd(identities=1, crops=1))


@pytest.mark.parametrize(
    ("clustering", "said"),
    [
        (Dbscan(centre_cameras=True), "set clustering.centre_cameras to false"),
        (TwoStage(centre_cameras=True), "centre_cameras needs the camera of every crop"),
        (BottomUp(centre_cameras=True), "set centre_cameras=false"),
        (BottomUp(merge_cameras="different"), "set merge_cameras=any"),
    ],
)
def test_cameras_that_are_missed(clustering: Dbscan | TwoStage | BottomUp, said: str) -> None:
    with pytest.raises(ResightError, match=said):
        clustering(crowd())


def test_settings_of_other_algorithms_are_passed_over_as_defaults_and_refused_as_changes() -> None:
    defaults = {"eps": 0.4, "min_samples": 3, "k1": 12, "nearest": 7, "recall": 0.8}
    assert build_clustering("two_stage", defaults, {"k1": 9}) == TwoStage(k1=9, nearest=7, recall=0.8)
    assert build_clustering("dbscan", defaults, {}) == Dbscan(eps=0.4, min_samples=3, k1=12, recall=0.8)
    assert build_clustering("bottom_up", defaults, {}) == BottomUp(recall=0.8)


@pytest.mark.parametrize(
    ("algorithm", "changes", "said"),
    [
        ("k_means", {}, "There is no clustering 'k_means': choose one of dbscan, two_stage, bottom_up."),
        ("two_stage", {"eps": 0.5}, "has no setting 'eps'. dbscan has it: choose algorithm dbscan."),
        ("dbscan", {"clusters": 5}, "'clusters'. two_stage and bottom_up have it: choose algorithm two_stage or"),
        ("dbscan", {"min_sample": 5}, "The clustering dbscan has no setting 'min_sample'. Did you mean 'min_samples'?"),
        ("bottom_up", {"xyz": 5}, "It has clusters, centre_cameras, search, recall, crops_per_identity, merge_share"),
        ("dbscan", {"eps": "wide"}, "The setting eps='wide' is not possible: Input should be a valid number"),
        ("two_stage", {"clusters": 1}, "The setting clusters=1 is not possible"),
        ("bottom_up", {"merge_cameras": "all"}, "The setting merge_cameras='all' is not possible"),
    ],
)
def test_refusals(algorithm: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ResightError) as error:
        build_clustering(algorithm, {}, changes)
    assert said in str(error.value)

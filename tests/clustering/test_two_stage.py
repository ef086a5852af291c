import math
from importlib import import_module

import numpy as np
import pytest
from sklearn.cluster import KMeans

from resight.clustering import NoClusters, centre_by_camera, label_agreement, two_stage, unit_rows
from resight.clustering.two_stage import principal_components
from resight.errors import ResightError


def people(seed: int, n: int = 150, each: int = 15, noise: float = 0.8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(n // each, 16))
    return centre[rng.integers(0, len(centre), n)] + noise * rng.normal(size=(n, 16))


def unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return (x / np.sqrt((x**2).sum(axis=1, keepdims=True))).astype(np.float32).astype(np.float64)


def jaccard(points: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """The k-reciprocal Jaccard distance of all points, with sets and dense arrays."""
    x = unit(points)
    n = len(x)
    distance = np.array([((x[i] - x) ** 2).sum(axis=1) for i in range(n)]).astype(np.float32)
    R = [sorted(range(n), key=lambda j, i=i: (j != i, distance[i, j], j))[:k1] for i in range(n)]
    H = [r[: int(np.around(k1 / 2)) + 1] for r in R]
    near = [{j for j in R[i] if i in R[j]} for i in range(n)]
    half = [{j for j in H[i] if i in H[j]} for i in range(n)]
    V = np.zeros((n, n))
    for i in range(n):
        expanded = set(near[i])
        for c in near[i]:
            if 3 * len(half[c] & near[i]) > 2 * len(half[c]):
                expanded |= half[c]
        for j in expanded:
            V[i, j] = math.exp(-distance[i, j])
        V[i] /= V[i].sum()
    V = np.stack([V[r[:k2]].mean(axis=0) for r in R])
    shared = np.array([np.minimum(V[i], V).sum(axis=1) for i in range(n)])
    return (1 - shared / (2 - shared)).astype(np.float32)


def reference(x, clusters, keep, components, k1, k2, contested, unwanted, seed):
    """The two stages, crop by crop; a distance is rounded so that its ties do not hang on the order of a sum."""
    coordinates = principal_components(x, components)
    found = KMeans(clusters, n_init=1, random_state=seed).fit(coordinates)
    size = len(x)
    J = jaccard(np.concatenate([coordinates, found.cluster_centers_.astype(np.float32)]), k1, k2)
    wants = [[] for _ in range(size)]
    for cluster in range(clusters):
        row = J[size + cluster, :size]
        for crop in sorted(range(size), key=lambda crop, row=row: (row[crop], crop))[:keep]:
            if row[crop] < 1:
                wants[crop].append((row[crop], cluster))
    labels = []
    for crop, claims in enumerate(wants):
        if not claims:
            labels.append(-1 if unwanted == "out" else found.labels_[crop])
        elif len(claims) > 1 and contested == "out":
            labels.append(-1)
        else:
            labels.append(min(claims)[1])
    return np.array(labels), sum(len(c) > 1 for c in wants), sum(not c for c in wants)


@pytest.mark.parametrize("contested", ["nearest", "out"])
@pytest.mark.parametrize("unwanted", ["out", "cluster"])
@pytest.mark.parametrize(("keep", "k1", "k2"), [(4, 8, 3), (12, 10, 2), (40, 12, 4)])
def test_equals_the_two_stages_written_out(contested, unwanted, keep, k1, k2):
    x = people(keep)
    settings = {"components": 6, "k1": k1, "k2": k2, "contested": contested, "unwanted": unwanted, "seed": 3}
    expected, several, none = reference(x, 14, keep, **settings)
    found = two_stage(x, 14, keep=keep, **settings)
    assert found.facts == {"contested": several, "unwanted": none}
    # numbers without gaps, in the order of the centroids'
    numbers = np.unique(expected[expected >= 0])
    np.testing.assert_array_equal(found.labels, np.where(expected < 0, -1, np.searchsorted(numbers, expected)))
    if keep == 4:
        assert none > 0
    if keep == 40:
        assert several > 0


def test_without_the_second_stage_it_is_k_means():
    x = people(1)
    expected = KMeans(12, n_init=1, random_state=5).fit_predict(principal_components(x, 8))
    found = two_stage(x, 12, keep=None, components=8, seed=5)
    assert label_agreement(found, expected) == 1
    assert found.num_outliers == 0
    assert found.facts == {}


def test_the_second_stage_leaves_purer_clusters():
    rng = np.random.default_rng(0)
    identity = rng.integers(0, 20, 400)
    x = rng.normal(size=(20, 16))[identity] + 0.9 * rng.normal(size=(400, 16))

    def purity(labels):
        inside = labels >= 0
        return np.mean(
            [np.bincount(identity[labels == label]).max() / (labels == label).sum() for label in set(labels[inside])]
        )

    plain = two_stage(x, 20, keep=None, components=12).labels
    kept = two_stage(x, 20, keep=10, components=12)
    assert purity(kept.labels) > purity(plain) + 0.02
    assert 0 < kept.num_outliers < 300
    assert kept.cluster_sizes.max() <= 10


def test_components_are_those_of_an_exact_decomposition():
    x = people(2, 90)
    centred = unit(x) - unit(x).mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    found = principal_components(x, 5)
    assert found.shape == (90, 5)
    np.testing.assert_allclose(abs(found), abs(centred @ axes[:5].T), atol=1e-5)
    np.testing.assert_allclose((found**2).sum(axis=0), values[:5] ** 2, rtol=1e-4)
    assert principal_components(x, 99).shape == (90, 16)  # no more than dimensions
    np.testing.assert_allclose(
        ((principal_components(x, 16)[:, None] - principal_components(x, 16)) ** 2).sum(-1),
        ((unit(x)[:, None] - unit(x)) ** 2).sum(-1),
        atol=1e-5,
    )


def test_components_of_features_on_disk_in_blocks(tmp_path, monkeypatch):
    x = people(3, 100).astype(np.float16)
    expected = principal_components(x, 6)
    file = np.memmap(tmp_path / "x", np.float16, mode="w+", shape=x.shape)
    file[:] = x
    monkeypatch.setattr(import_module("resight.clustering.two_stage"), "_BLOCK", 32)
    found = principal_components(unit_rows(file, memory=0), 6)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_same_for_the_same_seed():
    x = people(4, 400)
    first, again, other = (two_stage(x, 30, k1=10, seed=seed).labels for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_fewer_distinct_crops_than_clusters():
    x = np.repeat(people(5, 8, 2), 10, axis=0)
    found = two_stage(x, 20, keep=10, k1=10, k2=2)
    assert found.num_clusters <= 8
    for label in range(found.num_clusters):
        assert len(np.unique(x[found.labels == label], axis=0)) == 1


def test_cameras_count_only_where_they_are_centred():
    x = people(6)
    camera = np.arange(len(x)) % 3
    x = x + 3 * np.random.default_rng(0).normal(size=(3, 16))[camera]
    plain = two_stage(x, 12, camera=camera).labels
    np.testing.assert_array_equal(plain, two_stage(x, 12).labels)
    centred = two_stage(x, 12, camera=camera, centre_cameras=True).labels
    np.testing.assert_array_equal(centred, two_stage(centre_by_camera(x, camera), 12).labels)
    assert label_agreement(centred, plain) < 0.9


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"clusters": 151}, r"2 to 150 clusters of 150 crops, and 151 were asked for: set clusters"),
        ({"clusters": 1}, r"and 1 were asked for"),
        ({"clusters": 9, "keep": 0}, r"at least one crop .* got 0"),
        ({"clusters": 9, "k1": 3, "k2": 4}, r"clustering\.k2 must lie between 1 and clustering\.k1=3"),
        ({"clusters": 9, "centre_cameras": True}, r"centre_cameras needs the camera"),
    ],
)
def test_bad_settings_are_sentences(settings, said):
    with pytest.raises(ResightError, match=said):
        two_stage(people(0), **settings)


def test_nothing_kept_is_a_sentence():
    x = np.array([[1.0, 0, 0.1], [0.1, 1, 0], [0, 0.1, 1]] * 2)
    with pytest.raises(NoClusters, match=r"No crop was kept .* raise k1 \(now 1\)"):
        two_stage(x, 3, keep=2, k1=1, k2=1)


def test_every_kept_crop_contested_is_a_sentence_whose_advice_works():
    settings = {"clusters": 2, "keep": 10, "k1": 12, "k2": 2}
    with pytest.raises(NoClusters, match=r"10 crops that were kept .* several of 2 .*: set contested to nearest"):
        two_stage(people(0, 10, 5), contested="out", **settings)
    assert two_stage(people(0, 10, 5), contested="nearest", **settings).num_outliers == 0

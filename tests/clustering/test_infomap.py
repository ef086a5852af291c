"""Infomap against the map equation of every partition of small graphs."""

import importlib.util

import numpy as np
import pytest
import scipy.sparse as sp

from resight.clustering import cluster_crops, infomap, jaccard_distance, label_agreement
from resight.errors import ResightError

installed = importlib.util.find_spec("infomap") is not None
needs_infomap = pytest.mark.skipif(not installed, reason="the package infomap is not installed")


def partitions(count):
    """All ways to divide 0…count-1, as labels numbered by their first member."""
    if count == 0:
        yield ()
        return
    for rest in partitions(count - 1):
        for label in range(max(rest, default=-1) + 2):
            yield (*rest, label)


def description_length(weight, labels):
    """The two-level map equation (Rosvall and Bergstrom 2008), in bits, of an undirected graph."""
    visit = weight.sum(axis=1) / weight.sum()
    labels = np.array(labels)

    def bits(values):
        values = np.array([value for value in values if value > 0])
        return float(-(values * np.log2(values)).sum())

    exits = [
        weight[np.ix_(labels == module, labels != module)].sum() / weight.sum() for module in range(labels.max() + 1)
    ]
    total = sum(exits)
    between = bits([value / total for value in exits]) * total if total else 0.0
    inside = 0.0
    for module, leaves in enumerate(exits):
        flow = leaves + visit[labels == module].sum()
        inside += flow * bits([leaves / flow, *(visit[labels == module] / flow)])
    return between + inside


def graph(seed, count=7):
    rng = np.random.default_rng(seed)
    group = np.arange(count) % 2
    near, far = (rng.uniform(low, high, (count, count)) for low, high in ((0.1, 0.4), (0.6, 0.97)))
    distance = np.where(group[:, None] == group, near, far)
    distance = np.triu(distance, 1) + np.triu(distance, 1).T
    return distance


@needs_infomap
@pytest.mark.parametrize("seed", range(4))
def test_the_shortest_description_of_all_partitions(seed):
    distance = graph(seed)
    weight = np.where(distance <= 0.95, 1 - distance, 0)
    np.fill_diagonal(weight, 0)
    best = min(partitions(7), key=lambda labels: description_length(weight, labels))
    found = infomap(sp.csr_matrix(distance), 0.95, 1)
    assert tuple(found.tolist()) == best


@needs_infomap
def test_small_modules_and_lone_crops_are_outliers():
    distance = np.full((9, 9), 2.0)
    for crops in ((1, 4, 6), (0, 2), (3, 5, 7)):
        for a in crops:
            for b in crops:
                distance[a, b] = 0.2
    found = infomap(sp.csr_matrix(distance), 0.5, 3)
    assert found.tolist() == [-1, 0, -1, 1, 0, 1, 0, 1, -1]
    assert infomap(sp.csr_matrix(distance), 0.1, 2).tolist() == [-1] * 9
    assert infomap(sp.csr_matrix(distance), 0.1, 1).tolist() == [*range(9)]


@needs_infomap
def test_labels_of_crops_are_the_same_for_the_same_seed():
    rng = np.random.default_rng(0)
    identity = np.arange(180) % 15
    features = rng.normal(size=(15, 24))[identity] + 0.5 * rng.normal(size=(180, 24))
    found = cluster_crops(features, k1=12, clusterer="infomap")
    distances = jaccard_distance(features, 12, 6)
    np.testing.assert_array_equal(found.labels, infomap(distances, 0.6, 4))
    np.testing.assert_array_equal(infomap(distances, 0.6, 4, seed=5), infomap(distances, 0.6, 4, seed=5))
    assert label_agreement(found.labels, identity) > 0.9
    chosen = cluster_crops(features, k1=12, eps="auto", clusterer="infomap")
    assert label_agreement(chosen.labels, identity) > 0.9


def test_a_missing_package_is_a_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ResightError, match=r"not installed: pip install 'resight\[infomap\]'"):
        cluster_crops(np.eye(5), k1=3, k2=2, clusterer="infomap")


def test_bad_input_is_a_sentence():
    with pytest.raises(ResightError, match="Infomap needs a square sparse matrix"):
        infomap(np.eye(3), 0.5)
    with pytest.raises(ResightError, match="clusterer must be dbscan or infomap"):
        cluster_crops(np.eye(5), clusterer="louvain")

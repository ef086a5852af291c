"""Clusters that obey must-links and cannot-links, against a slow reference that tries all partitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from resight.clustering import Links, respect_links
from resight.errors import ResightError


def _obeys(labels: np.ndarray, links: Links) -> bool:
    return all(labels[a] == labels[b] >= 0 for a, b in links.must) and all(
        labels[a] != labels[b] or labels[a] < 0 for a, b in links.cannot
    )


def _fewest_parts(group: list[int], links: Links) -> int:
    """The fewest parts of a small group that obey its links, by trying all assignments."""
    for parts in range(1, len(group) + 1):
        for choice in itertools.product(range(parts), repeat=len(group)):
            part = dict(zip(group, choice, strict=True))
            if all(part[a] == part[b] for a, b in links.must if a in part and b in part) and all(
                part[a] != part[b] for a, b in links.cannot if a in part and b in part
            ):
                return parts
    raise AssertionError


@pytest.mark.parametrize("seed", range(30))
def test_all_links_are_obeyed_and_other_clusters_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    identity = rng.integers(0, 8, 60)
    centres = rng.normal(size=(8, 12))
    features = centres[identity] + 0.8 * rng.normal(size=(60, 12))
    labels = np.where(rng.random(60) < 0.7, rng.integers(0, 6, 60), -1)
    labels[:6] = np.arange(6)
    pairs = rng.integers(0, 60, (25, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    same = identity[pairs[:, 0]] == identity[pairs[:, 1]]
    links = Links(pairs[same], pairs[~same])
    found = respect_links(labels, features, links)
    assert _obeys(found, links)
    assert sorted(set(found) - {-1}) == list(range(found.max() + 1))
    touched = set(labels[links.must].ravel()) | set(labels[links.cannot].ravel())
    for cluster in set(range(6)) - touched:
        inside = labels == cluster
        assert len(set(found[inside])) == 1
        assert (found[~inside] != found[inside][0]).all()
    linked = set(links.must.ravel())
    for crop in np.flatnonzero(labels < 0):
        assert (found[crop] >= 0) == (crop in linked)


@pytest.mark.parametrize("seed", range(20))
def test_a_group_is_divided_into_few_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(7, 5))
    cannot = np.array([pair for pair in itertools.combinations(range(7), 2) if rng.random() < 0.25] or [(0, 1)])
    links = Links(cannot=cannot)
    parts = respect_links(np.zeros(7, int), features, links).max() + 1
    # joining greedily may need a part more than the best colouring of the links
    assert _fewest_parts(list(range(7)), links) <= parts <= _fewest_parts(list(range(7)), links) + 1


def test_crops_go_to_the_part_that_they_resemble() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate(
        [rng.normal(size=(10, 8)) * 0.1 + np.eye(8)[0], rng.normal(size=(5, 8)) * 0.1 + np.eye(8)[1]]
    )
    found = respect_links(np.zeros(15, int), features, Links(cannot=[[0, 12]]))
    assert found.tolist() == [0] * 10 + [1] * 5
    assert respect_links(found, features, Links(must=[[3, 11]])).tolist() == [0] * 15


def test_contradictions_and_wrong_pairs_get_a_sentence() -> None:
    features = np.eye(4)
    with pytest.raises(ResightError, match="contradict each other: the crops 0 and 2"):
        respect_links(np.zeros(4, int), features, Links([[0, 1], [1, 2]], [[0, 2]]))
    with pytest.raises(ResightError, match="indices from 0 to 4, but there are 4 crops"):
        respect_links(np.zeros(4, int), features, Links([[0, 4]]))
    with pytest.raises(ResightError, match="two indices of crops per pair"):
        Links(cannot=[0, 1])
    with pytest.raises(ResightError, match="features of 4 crops"):
        respect_links(np.zeros(3, int), features, Links())


def test_without_links_nothing_changes() -> None:
    labels = np.array([1, -1, 0, 1, 2, -1])
    assert respect_links(labels, np.eye(6), Links()).tolist() == [0, -1, 1, 0, 2, -1]

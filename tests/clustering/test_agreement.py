"""The cross agreement against sets of Python."""

from __future__ import annotations

import numpy as np
import pytest

from resight.clustering import cross_agreement, nearest_neighbours
from resight.errors import ResightError


def by_sets(whole: np.ndarray, parts: list[np.ndarray], k: int) -> np.ndarray:
    result = np.zeros((len(whole), len(parts)))
    for i in range(len(whole)):
        for n, part in enumerate(parts):
            ours = [j for j in whole[i].tolist() if j != i][:k]
            theirs = [j for j in part[i].tolist() if j != i][:k]
            result[i, n] = len(set(ours) & set(theirs)) / len(set(ours) | set(theirs))
    return result


def spaces(kind: str, size: int = 300) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(size, 6))
    features = [whole, *(whole + scale * rng.normal(size=whole.shape) for scale in (0.1, 0.5, 2.0))]
    if kind == "ties":
        features = [np.round(space) + 0.25 for space in features]
    if kind == "duplicates":
        features = [space[rng.integers(0, size // 12, size)] for space in features]
    return features


@pytest.mark.parametrize("kind", ["plain", "ties", "duplicates"])
@pytest.mark.parametrize("k", [1, 7, 20])
def test_equals_the_overlap_of_sets(kind: str, k: int) -> None:
    whole, *parts = (nearest_neighbours(space, 30).indices for space in spaces(kind))
    found = cross_agreement(whole, parts, k)
    assert found.shape == (300, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_sets(whole, parts, k), rtol=1e-6)
    if kind == "plain":  # the more noise, the less agreement
        assert (np.diff(found.mean(axis=0)) < -0.02).all()


def test_lists_need_not_be_of_one_length() -> None:
    whole, *parts = spaces("plain")
    lists = [nearest_neighbours(part, 21 + n).indices for n, part in enumerate(parts)]
    found = cross_agreement(nearest_neighbours(whole, 30).indices, lists)
    assert (found == cross_agreement(nearest_neighbours(whole, 21).indices, [part[:, :21] for part in lists])).all()


def test_a_part_that_sees_the_same_agrees_fully_and_strangers_not_at_all() -> None:
    near = np.array([[i, *(6 * (i // 6) + (i + step) % 6 for step in range(1, 4))] for i in range(12)])
    far = np.array([[i, *((i + 6 + step) % 12 for step in range(1, 4))] for i in range(12)])
    far[:, 1:] = 6 * (1 - near[:, :1] // 6) + far[:, 1:] % 6
    found = cross_agreement(near, [near, near[:, [0, 3, 1, 2]], far], 3)
    assert found.tolist() == [[1.0, 1.0, 0.0]] * 12


def test_fewer_crops_than_neighbours() -> None:
    whole, part, *_ = (nearest_neighbours(space[:5], 30).indices for space in spaces("plain"))
    assert (cross_agreement(whole, [part]) == 1).all()
    assert cross_agreement(np.zeros((1, 1), int), [np.zeros((1, 1), int)]).tolist() == [[1.0]]
    assert cross_agreement(whole, []).shape == (5, 0)


def test_what_cannot_be_compared_is_a_sentence() -> None:
    lists = nearest_neighbours(spaces("plain")[0], 20).indices
    with pytest.raises(ResightError, match="search for 21"):
        cross_agreement(lists, [lists], 20)
    with pytest.raises(ResightError, match="300 crops"):
        cross_agreement(lists, [lists[:200]], 10)
    with pytest.raises(ResightError, match="at least one"):
        cross_agreement(lists, [lists], 0)

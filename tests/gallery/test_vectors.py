"""Exact search, against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest

from resight.gallery.vectors import Vectors


def _reference(stored: np.ndarray, query: np.ndarray, k: int, keep: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Cosines of the stored numbers in float64, one by one."""
    cosine = np.full(len(stored), -np.inf)
    for place in np.flatnonzero(keep):
        a, b = stored[place].astype(np.float64), query.astype(np.float64)
        cosine[place] = a @ b / np.sqrt((a @ a) * (b @ b))
    order = sorted(np.flatnonzero(keep).tolist(), key=lambda place: (-round(cosine[place], 12), place))[:k]
    return order, cosine[order]


@pytest.mark.parametrize("kind", ["float16", "float32"])
@pytest.mark.parametrize(("size", "dim", "queries"), [(7000, 64, 1), (6000, 33, 6), (50, 16, 3)])
def test_the_same_as_a_slow_search(kind: str, size: int, dim: int, queries: int) -> None:
    rng = np.random.default_rng(size)
    centres = rng.normal(size=(size // 20 + 1, dim))
    rows = centres[rng.integers(0, len(centres), size)] + 0.3 * rng.normal(size=(size, dim))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(kind)
    rows[5] = rows[17] = rows[3]  # copies: equal cosines
    asked = np.concatenate([rows[3:4].astype(np.float32), rng.normal(size=(queries - 1, dim))]).astype(np.float32)
    vectors = Vectors(dim, kind)
    for part in np.array_split(rows, 3):
        vectors.append(part)
    half = rng.random(size) < 0.5
    few = rng.random(size) < 10 / size
    for keep in (None, half, few, np.zeros(size, bool)):
        mask = np.ones(size, bool) if keep is None else keep
        for query, (places, cosine) in zip(asked, vectors.search(asked, 12, keep), strict=True):
            expected, values = _reference(rows, query, 12, mask)
            assert places.tolist() == expected
            assert np.allclose(cosine, values, atol=1e-12)


def test_rows_that_were_dropped_or_replaced() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(5000, 32)).astype(np.float16)
    vectors = Vectors(32, "float16")
    vectors.append(rows)
    keep = rng.random(5000) < 0.6
    vectors.keep(keep)
    left = rows[keep]
    vectors.replace(np.array([0, 7]), np.stack([left[9], left[8]]))
    left[[0, 7]] = left[[9, 8]]
    query = left[9].astype(np.float32)
    places, _ = vectors.search(query[None], 5)[0]
    assert places.tolist() == _reference(left, query, 5, np.ones(len(left), bool))[0]
    assert len(vectors) == len(left)


def test_more_are_asked_for_than_there_are() -> None:
    vectors = Vectors(4, "float32")
    assert vectors.search(np.ones((1, 4), np.float32), 3)[0][0].tolist() == []
    vectors.append(np.eye(4, dtype=np.float32))
    assert vectors.search(np.eye(4, dtype=np.float32)[2:3], 30)[0][0].tolist() == [2, 0, 1, 3]


def test_neighbours_are_those_of_a_slow_search() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 16)).astype(np.float32)
    vectors = Vectors(16, "float32")
    vectors.append(rows)
    keep = rng.random(300) < 0.8
    asked = np.array([3, 50, 299])
    for place, found in zip(asked, vectors.neighbours(asked, 7, keep), strict=True):
        assert sorted(found.tolist()) == sorted(_reference(rows, rows[place], 7, keep)[0])

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import DBSCAN

from resight.clustering import dbscan, jaccard_distance
from resight.errors import ResightError


def sparse(distance: np.ndarray, limit: float = np.inf) -> sp.csr_matrix:
    """Every entry up to ``limit``, zeros included."""
    row, column = np.nonzero(distance <= limit)
    return sp.csr_matrix((distance[row, column], (row, column)), shape=distance.shape)


def sklearn_labels(distance: np.ndarray, eps: float, min_samples: int) -> np.ndarray:
    return DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(distance).labels_


def random_distances(seed: int, n: int, levels: int | None) -> np.ndarray:
    """Points on a line or in a square; ``levels`` puts them on a grid: ties at eps and duplicates."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n, 1 + seed % 2))
    if levels:
        x = np.round(x * levels) / levels
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2))
    return distance.astype(np.float32)


@pytest.mark.parametrize("levels", [None, 10, 40])
@pytest.mark.parametrize("seed", range(6))
def test_labels_equal_sklearn(seed, levels):
    distance = random_distances(seed, 140, levels)
    seen = set()
    for eps in (0.001, 0.01, 0.025, 0.05, 0.1, 0.2, 1.0):
        for min_samples in (1, 2, 4, 7):
            expected = sklearn_labels(distance, eps, min_samples)
            found = dbscan(sparse(distance), eps, min_samples)
            assert found.dtype == np.int64
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(dbscan(sparse(distance, eps + 0.01), eps, min_samples), expected)
            seen.add(int(expected.max()))
    assert len(seen) > 1


@pytest.mark.parametrize("seed", range(20))
def test_arbitrary_graphs_equal_sklearn(seed):
    """No triangle inequality: border crops between several clusters are common."""
    rng = np.random.default_rng(seed)
    n = 120
    distance = np.where(rng.uniform(size=(n, n)) < 0.03, rng.uniform(size=(n, n)), 1.0)
    distance = np.minimum(distance, distance.T).astype(np.float32)
    np.fill_diagonal(distance, 0)
    for eps in (0.3, 0.6, 0.9):
        for min_samples in (3, 4, 5, 6):
            np.testing.assert_array_equal(
                dbscan(sparse(distance, 0.99), eps, min_samples), sklearn_labels(distance, eps, min_samples)
            )


@pytest.mark.parametrize("k1", [20, 30])
def test_on_jaccard_distances(k1):
    rng = np.random.default_rng(k1)
    centre = rng.normal(size=(25, 16))
    x = centre[rng.integers(0, 25, 300)] + 0.8 * rng.normal(size=(300, 16))
    x[150:180] = x[:30]
    full = jaccard_distance(x, k1)
    distance = np.ones(full.shape, np.float32)
    distance[full.tocoo().row, full.tocoo().col] = full.data
    for eps in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9):
        expected = sklearn_labels(distance, eps, 4)
        np.testing.assert_array_equal(dbscan(full, eps, 4), expected)
        np.testing.assert_array_equal(dbscan(jaccard_distance(x, k1, max_distance=eps), eps, 4), expected)


def test_eps_is_compared_in_the_precision_of_the_distances():
    """float32(0.6) is a little above 0.6: sklearn counts it as within."""
    distance = np.full((4, 4), 0.6, np.float32)
    np.fill_diagonal(distance, 0)
    np.testing.assert_array_equal(sklearn_labels(distance, 0.6, 4), [0, 0, 0, 0])
    np.testing.assert_array_equal(dbscan(sparse(distance), 0.6, 4), [0, 0, 0, 0])


def test_zeros_are_neighbours_and_absent_entries_are_not():
    zero = sp.csr_matrix((np.zeros(16, np.float32), np.tile(np.arange(4), 4), np.arange(0, 17, 4)), shape=(4, 4))
    np.testing.assert_array_equal(dbscan(zero, 0.1, 4), [0, 0, 0, 0])
    empty = sp.csr_matrix((4, 4), dtype=np.float32)
    np.testing.assert_array_equal(dbscan(empty, 0.1, 2), [-1, -1, -1, -1])
    np.testing.assert_array_equal(dbscan(empty, 0.1, 1), [0, 1, 2, 3])  # each counts itself


def test_border_crop_joins_the_lowest_numbered_cluster():
    # 0-2 and 4-6 are dense; 3 touches one core crop of each
    distance = np.ones((7, 7), np.float32)
    for group in ((0, 1, 2), (4, 5, 6)):
        distance[np.ix_(group, group)] = 0.1
    distance[3, [2, 6]] = distance[[2, 6], 3] = 0.1
    np.fill_diagonal(distance, 0)
    expected = sklearn_labels(distance, 0.2, 4)
    np.testing.assert_array_equal(dbscan(sparse(distance), 0.2, 4), expected)
    np.testing.assert_array_equal(expected, [0, 0, 0, 0, 1, 1, 1])


def test_what_cannot_be_clustered_is_refused():
    good = sp.csr_matrix(np.eye(3, dtype=np.float32))
    with pytest.raises(ResightError, match="square sparse matrix"):
        dbscan(sp.csr_matrix((3, 4)), 0.5)
    with pytest.raises(ResightError, match="square sparse matrix"):
        dbscan(np.eye(3), 0.5)
    for eps in (0, -1, float("nan")):
        with pytest.raises(ResightError, match=r"clustering\.eps must be above 0"):
            dbscan(good, eps)
    with pytest.raises(ResightError, match=r"clustering\.min_samples must be at least 1"):
        dbscan(good, 0.5, 0)

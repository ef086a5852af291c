import math

import numba
import numpy as np
import pytest
import scipy.sparse as sp

from resight.clustering import Neighbours, jaccard_distance, nearest_neighbours
from resight.errors import ResightError


def reference(x: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """The definition, with sets and a dense V."""
    unit = np.asarray(x, np.float64)
    unit = (unit / np.sqrt((unit**2).sum(axis=1, keepdims=True))).astype(np.float32).astype(np.float64)
    n = len(unit)
    distance = np.array([((unit[i] - unit) ** 2).sum(axis=1) for i in range(n)]).astype(np.float32)
    R = [sorted(range(n), key=lambda j, i=i: (j != i, distance[i, j], j))[:k1] for i in range(n)]
    H = [r[: int(np.around(k1 / 2)) + 1] for r in R]
    N = [{j for j in R[i] if i in R[j]} for i in range(n)]
    N_half = [{j for j in H[i] if i in H[j]} for i in range(n)]
    V = np.zeros((n, n))
    for i in range(n):
        expanded = set(N[i])
        for c in N[i]:
            if 3 * len(N_half[c] & N[i]) > 2 * len(N_half[c]):
                expanded |= N_half[c]
        for j in expanded:
            V[i, j] = math.exp(-distance[i, j])
        V[i] /= V[i].sum()
    if k2 > 1:
        V = np.stack([V[r[:k2]].mean(axis=0) for r in R])
    J = np.zeros((n, n))
    for i in range(n):
        s = np.minimum(V[i], V).sum(axis=1)
        J[i] = np.maximum(0, 1 - s / (2 - s))
        J[i][s == 0] = 1
    np.fill_diagonal(J, 0)
    return J


def clustered(seed: int, n: int, d: int = 12, noise: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(max(1, n // 12), d))
    return centre[rng.integers(0, len(centre), n)] + noise * rng.normal(size=(n, d))


def with_duplicates(seed: int, n: int) -> np.ndarray:
    x = clustered(seed, n)
    x[n // 2 : n // 2 + n // 5] = x[: n // 5]
    x[-5:] = x[0]
    return x


def grid(seed: int, n: int) -> np.ndarray:
    x = np.random.default_rng(seed).integers(-1, 2, size=(n, 4)).astype(float)
    x[(x == 0).all(axis=1)] = 1
    return x


def dense(matrix: sp.csr_matrix) -> np.ndarray:
    """Absent entries are 1."""
    full = np.ones(matrix.shape)
    coo = matrix.tocoo()
    full[coo.row, coo.col] = coo.data
    return full


@pytest.mark.parametrize("k1", [5, 20, 30])
@pytest.mark.parametrize("k2", [1, 5])
@pytest.mark.parametrize("make", [clustered, with_duplicates, grid])
def test_equals_the_definition(make, k1, k2):
    for n in (60, 160):
        x = make(k1 + k2 + n, n)
        expected = reference(x, k1, k2)
        found = jaccard_distance(x, k1, k2)
        np.testing.assert_allclose(dense(found), expected, atol=1e-6)
        stored = np.zeros((n, n), bool)
        stored[found.tocoo().row, found.tocoo().col] = True
        assert (stored == (expected.astype(np.float32) < 1)).all()


@pytest.mark.parametrize(("n", "k1", "k2"), [(1, 30, 6), (2, 30, 6), (7, 30, 6), (25, 30, 6), (40, 1, 1), (40, 3, 2)])
def test_small_sets_and_small_lists(n, k1, k2):
    x = clustered(n, n)
    np.testing.assert_allclose(dense(jaccard_distance(x, k1, k2)), reference(x, k1, k2), atol=1e-6)


@pytest.mark.parametrize("k1", [20, 30])
def test_a_larger_set(k1):
    x = clustered(k1, 300, d=24, noise=0.9)
    np.testing.assert_allclose(dense(jaccard_distance(x, k1, 6)), reference(x, k1, 6), atol=1e-6)


def test_expansion_reaches_beyond_the_neighbours():
    """Otherwise the tests above would not see whether such members are weighted rightly."""
    x = clustered(0, 200, noise=1.0)
    neighbours = nearest_neighbours(x, 20)
    from resight.clustering import neighbour_weights

    V = neighbour_weights(neighbours, depth=20, half_depth=11, k2=1)
    beyond = [len(set(V[i].indices) - set(neighbours.indices[i])) for i in range(200)]
    assert sum(beyond) > 0


def test_matrix_is_symmetric_sorted_and_holds_its_zeros():
    x = with_duplicates(3, 200)
    J = jaccard_distance(x)
    assert sp.isspmatrix_csr(J)
    assert J.shape == (200, 200)
    assert J.dtype == np.float32
    assert (abs(J - J.T)).max() == 0
    for i in range(200):
        row = J.indices[J.indptr[i] : J.indptr[i + 1]]
        assert (np.diff(row) > 0).all()
        assert i in row
        assert J.data[J.indptr[i] + np.searchsorted(row, i)] == 0
    stored = J.tocoo()
    pairs = set(zip(stored.row.tolist(), stored.col.tolist(), strict=True))
    assert (100, 0) in pairs  # an exact duplicate
    assert (stored.data >= 0).all()
    assert (stored.data < 1).all()


def test_zero_between_duplicates_is_an_entry():
    """Three directions, ten crops each: within a direction nothing differs."""
    x = np.repeat(np.eye(3), 10, axis=0)
    J = jaccard_distance(x, k1=10, k2=1)
    assert J.nnz == 300
    assert (J.data == 0).all()


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.6, 1.0])
def test_max_distance_keeps_what_is_within_it(limit):
    x = with_duplicates(7, 250)
    whole, cut = jaccard_distance(x), jaccard_distance(x, max_distance=limit)
    expected = dense(whole)
    expected[expected > np.float32(limit)] = 1
    np.testing.assert_array_equal(dense(cut), expected)
    assert cut.nnz == (whole.data <= np.float32(limit)).sum()


def test_neighbours_and_features_give_the_same():
    x = clustered(2, 120)
    expected = jaccard_distance(x, 20, 6)
    for k in (20, 50):
        found = jaccard_distance(nearest_neighbours(x, k), 20, 6)
        assert (found != expected).nnz == 0
        np.testing.assert_array_equal(found.indices, expected.indices)


def test_same_result_for_any_number_of_threads(monkeypatch):
    """Not the threads of the machine: on one core nothing would be compared."""
    x = with_duplicates(11, 900)
    results = []
    for count in (1, 2, 5):
        monkeypatch.setattr(numba, "get_num_threads", lambda count=count: count)
        results.append(jaccard_distance(x))
    for other in results[1:]:
        np.testing.assert_array_equal(other.indptr, results[0].indptr)
        np.testing.assert_array_equal(other.indices, results[0].indices)
        np.testing.assert_array_equal(other.data, results[0].data)


def test_settings_out_of_range_are_refused():
    x = clustered(0, 50)
    with pytest.raises(ResightError, match="k1 must be at least 1"):
        jaccard_distance(x, 0, 1)
    with pytest.raises(ResightError, match="k2 must lie between"):
        jaccard_distance(x, 5, 6)
    with pytest.raises(ResightError, match="max_distance"):
        jaccard_distance(x, max_distance=-0.1)
    with pytest.raises(ResightError, match="needs 30 neighbours"):
        jaccard_distance(nearest_neighbours(x, 10))
    bare = nearest_neighbours(x, 30)
    with pytest.raises(ResightError, match="needs the features"):
        jaccard_distance(Neighbours(bare.indices, bare.distances))

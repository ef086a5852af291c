import numba
import numpy as np
import pytest

from resight.clustering import Neighbours, nearest_neighbours
from resight.errors import ResightError


def unit_rows(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return (x / np.sqrt((x**2).sum(axis=1, keepdims=True))).astype(np.float32)


def reference(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Every squared distance, each row sorted by (not itself, distance, index)."""
    unit = unit_rows(x).astype(np.float64)
    indices, distances = [], []
    for i in range(len(unit)):
        row = ((unit[i] - unit) ** 2).sum(axis=1).astype(np.float32)
        order = sorted(range(len(unit)), key=lambda j, row=row, i=i: (j != i, row[j], j))[:k]
        indices.append(order)
        distances.append(row[order])
    return np.array(indices), np.array(distances)


def random_features(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.normal(size=(n, d))


def grid_features(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Few distinct values: exact duplicates and many ties."""
    x = rng.integers(-1, 2, size=(n, d))
    x[(x == 0).all(axis=1)] = 1
    return x.astype(np.float64)


@pytest.mark.parametrize("make", [random_features, grid_features])
@pytest.mark.parametrize(("n", "d", "k"), [(1, 3, 5), (7, 4, 30), (150, 4, 12), (300, 33, 30), (300, 3, 2), (90, 5, 1)])
def test_equals_sorting_every_distance(make, n, d, k):
    x = make(np.random.default_rng(n + d + k), n, d)
    found = nearest_neighbours(x, k)
    indices, distances = reference(x, k)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6, atol=1e-7)
    assert found.k == min(n, k)
    assert len(found) == n
    assert found.distances.dtype == np.float32
    np.testing.assert_array_equal(found.features, unit_rows(x))


def test_itself_comes_first_among_more_duplicates_than_k():
    x = np.ones((600, 8)) * np.arange(1, 601)[:, None]  # one direction: all duplicates once normalised
    found = nearest_neighbours(x, 4)
    assert (found.indices[:, 0] == np.arange(600)).all()
    assert (found.distances == 0).all()
    assert found.indices[599].tolist() == [599, 0, 1, 2]
    assert found.indices[1].tolist() == [1, 0, 2, 3]


@pytest.mark.parametrize("order", ["near last", "near first"])
def test_candidates_outgrow_the_buffer(order):
    """Similarities in one order, so the running threshold moves at every step, or never."""
    angle = np.linspace(0.0, 1.5, 1500)
    if order == "near last":
        angle = angle[::-1]
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = nearest_neighbours(x, 5)
    indices, _ = reference(x, 5)
    np.testing.assert_array_equal(found.indices, indices)


def test_same_result_for_any_block_and_number_of_threads():
    rng = np.random.default_rng(5)
    x = np.concatenate([random_features(rng, 400, 96), np.repeat(random_features(rng, 20, 96), 8, axis=0)])
    expected = nearest_neighbours(x, 20)
    threads = numba.get_num_threads()
    try:
        for count in range(1, threads + 1):
            numba.set_num_threads(count)
            for block in (1, 37, 560, 10_000):
                found = nearest_neighbours(x, 20, block=block)
                np.testing.assert_array_equal(found.indices, expected.indices)
                np.testing.assert_array_equal(found.distances, expected.distances)
    finally:
        numba.set_num_threads(threads)


def test_reads_a_float16_memory_map(tmp_path):
    x = random_features(np.random.default_rng(0), 120, 16).astype(np.float16)
    held = np.memmap(tmp_path / "features", dtype=np.float16, mode="w+", shape=x.shape)
    held[:] = x
    found, expected = nearest_neighbours(held, 6), nearest_neighbours(x.astype(np.float64), 6)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)


def test_length_of_a_feature_does_not_matter():
    x = random_features(np.random.default_rng(1), 50, 8)
    scale = 10.0 ** np.random.default_rng(2).integers(-180, 180, size=(50, 1))
    np.testing.assert_array_equal(nearest_neighbours(x * scale, 9).indices, nearest_neighbours(x, 9).indices)


@pytest.mark.parametrize(("value", "says"), [(0.0, "all zeros"), (np.nan, "not finite"), (np.inf, "not finite")])
def test_a_row_without_direction_is_named(value, says):
    x = np.ones((9000, 3))
    x[8765] = value
    with pytest.raises(ResightError, match=rf"Row 8765 of the features .*{says}"):
        nearest_neighbours(x, 3)


@pytest.mark.parametrize("bad", [np.ones(4), np.ones((0, 4)), np.ones((4, 0)), np.array([["a", "b"]])])
def test_what_is_not_a_matrix_of_features_is_refused(bad):
    with pytest.raises(ResightError, match="two-dimensional array of numbers"):
        nearest_neighbours(bad, 3)


def test_impossible_settings_are_refused():
    with pytest.raises(ResightError, match="k must be at least 1"):
        nearest_neighbours(np.ones((3, 3)), 0)
    with pytest.raises(ResightError, match="block of rows"):
        nearest_neighbours(np.ones((3, 3)), 1, block=0)


def test_features_are_optional_in_the_dataclass():
    assert Neighbours(np.zeros((2, 1), np.int32), np.zeros((2, 1), np.float32)).features is None

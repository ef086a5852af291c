import numba
import numpy as np
import pytest
import torch

from resight.clustering import nearest_neighbours
from resight.clustering import unit_rows as rows_of
from resight.clustering.search.device import search_on_device
from resight.clustering.search.exact import search_exact
from resight.clustering.search.inverted import search_approximate
from resight.clustering.search.products import Products
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
    np.testing.assert_array_equal(found.features.data, unit_rows(x))


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


def crowded(seed: int, n: int = 400, d: int = 96) -> np.ndarray:
    """Random rows and groups of eight equal ones."""
    rng = np.random.default_rng(seed)
    return np.concatenate([random_features(rng, n, d), np.repeat(random_features(rng, 20, d), 8, axis=0)])


def run_exact(x, k, kind, memory=None, tile_rows=None, held=True):
    rows = rows_of(x, memory=None if held else 0)
    indices, distances = np.empty((len(x), k), np.int32), np.empty((len(x), k), np.float32)
    furthest = np.empty(len(x), np.float32)
    told = search_exact(rows, Products(rows, kind), indices, distances, furthest, memory=memory, tile_rows=tile_rows)
    return indices, distances, furthest, told


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("held", [True, False])
def test_same_result_for_any_product_tile_and_number_of_threads(monkeypatch, kind, held):
    x = crowded(5)
    indices, distances = reference(x, 20)
    unit = unit_rows(x).astype(np.float64)
    largest = np.stack([((row - unit) ** 2).sum(axis=1) for row in unit]).max(axis=1)
    for count in (1, 3):
        monkeypatch.setattr(numba, "get_num_threads", lambda count=count: count)
        for tile_rows in (13, 560, None):
            found, near, far, _ = run_exact(x, 20, kind, tile_rows=tile_rows, held=held)
            np.testing.assert_array_equal(found, indices)
            np.testing.assert_allclose(near, distances, rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(far, largest, rtol=1e-6)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_panels_find_what_one_sweep_finds(kind):
    """9,000 rows in panels of 4,096: pairs within a panel are multiplied once, pairs across panels twice."""
    x = random_features(np.random.default_rng(1), 9000, 6)
    whole, parts = run_exact(x, 9, kind), run_exact(x, 9, kind, memory=1, tile_rows=1500)
    for one, other in zip(whole[:3], parts[:3], strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_with_more_candidates_than_their_buffer_are_searched_again():
    """2,000 rows within bfloat16's error of each other: no row can be certain of its neighbours at first."""
    rng = np.random.default_rng(2)
    x = 1 + 0.01 * random_features(rng, 2000, 24)
    found, near, _far, told = run_exact(x, 12, "bfloat16")
    indices, distances = reference(x, 12)
    assert told["repeated"] > 1900
    np.testing.assert_array_equal(found, indices)
    np.testing.assert_allclose(near, distances, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("make", ["random", "one sign", "few large"])
def test_products_are_within_their_stated_error(kind, make):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 257))
    if make == "one sign":
        x = abs(x)
    if make == "few large":
        x *= np.where(rng.random(257) < 0.03, 100, 1)
    rows = rows_of(x)
    products = Products(rows, kind)
    true = rows.data.astype(np.float64) @ rows.data.T.astype(np.float64)
    error = abs(products.tile(slice(0, 300), np.arange(300)) - true)
    assert (error <= products.bound + products.relative * abs(true)).all()
    assert error.max() > products.bound / 1000  # the bound is not idle


def test_features_that_stay_on_disk_give_the_same_neighbours(tmp_path):
    x = crowded(6).astype(np.float16)
    held = np.memmap(tmp_path / "features", dtype=np.float16, mode="w+", shape=x.shape)
    held[:] = x
    expected = nearest_neighbours(x, 20)
    found = nearest_neighbours(held, 20, memory=1)
    assert expected.features.held
    assert not found.features.held
    assert isinstance(found.indices, np.memmap)
    assert not isinstance(expected.indices, np.memmap)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-6)
    np.testing.assert_array_equal(found.features.take(slice(3, 50)), expected.features.take(slice(3, 50)))
    np.testing.assert_array_equal(found.features.take(np.array([7, 2])), expected.features.take(np.array([7, 2])))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_rows_read_by_compiled_code_equal_those_numpy_reads(kind):
    from resight.clustering.search._rows import pair_distance

    x = random_features(np.random.default_rng(8), 40, 33).astype(kind)
    x[0] = np.float16(6e-8)  # subnormal as float16
    rows = rows_of(x, memory=0)
    assert not rows.held
    unit = rows.take(slice(0, 40)).astype(np.float64)
    for i in range(40):
        assert pair_distance(rows.data, rows.norm, i, 39 - i) == pytest.approx(
            ((unit[i] - unit[39 - i]) ** 2).sum(), rel=1e-12
        )


@pytest.mark.parametrize("tile_elements", [1 << 20, 40_000, 560])
def test_search_on_a_device_equals_the_search_here(tile_elements):
    """The torch code, run on the processor: columns in one block, in several, rows one at a time."""
    x = crowded(7)
    rows = rows_of(x)
    expected = run_exact(x, 20, "float32")
    found = [np.empty_like(part) for part in expected[:3]]
    told = search_on_device(rows, *found, torch.device("cpu"), tile_elements=tile_elements)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-6)
    assert told["repeated"] == 0


def test_device_search_repeats_rows_it_cannot_be_certain_of():
    x = np.concatenate([np.ones((200, 8)), random_features(np.random.default_rng(1), 50, 8)])
    rows = rows_of(x)
    expected = run_exact(x, 5, "float32")
    found = [np.empty_like(part) for part in expected[:3]]
    told = search_on_device(rows, *found, torch.device("cpu"), slack=4)
    assert told["repeated"] >= 200  # each of the 200 equal rows has 199 others at distance 0
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-6)


def families(n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(11)
    return rng.normal(size=(n // 20, d))[rng.integers(n // 20, size=n)] + 0.7 * rng.normal(size=(n, d))


@pytest.mark.parametrize("recall", [0.6, 0.9, 1.0])
def test_approximate_search_reaches_the_recall_asked_for_and_measures_it(recall):
    x = families(4000, 24)
    found = nearest_neighbours(x, 10, search="approximate", recall=recall)
    exact = nearest_neighbours(x, 10)
    true = np.mean([len(np.intersect1d(a[1:], b[1:])) / 9 for a, b in zip(found.indices, exact.indices, strict=True)])
    assert exact.recall is None
    assert found.recall == pytest.approx(true, abs=0.03)
    assert recall - 0.05 < true
    assert true < 0.97 or recall > 0.6  # a lower aim is a shorter search
    assert (found.indices[:, 0] == np.arange(4000)).all()
    assert (np.diff(found.distances[:, 1:], axis=1) >= 0).all()
    assert all(len(set(row)) == 10 for row in found.indices.tolist())
    right = found.indices == exact.indices
    np.testing.assert_array_equal(found.distances[right], exact.distances[right])


def test_approximate_search_in_panels_and_with_too_few_crops_in_a_cell():
    x = families(9000, 12)
    rows = rows_of(x)
    results = []
    for memory in (None, 1):
        indices, distances = np.empty((9000, 8), np.int32), np.empty((9000, 8), np.float32)
        told = search_approximate(rows, indices, distances, recall=0.3, cells=1500, memory=memory)
        results.append(indices)
    assert told["probes"] >= 1
    assert told["repeated"] > 0
    np.testing.assert_array_equal(*results)
    assert (results[0] >= 0).all()
    assert (results[0] < 9000).all()


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
    with pytest.raises(ResightError, match="auto, exact or approximate, got 'quick'"):
        nearest_neighbours(np.ones((3, 3)), 1, search="quick")
    with pytest.raises(ResightError, match="recall must be above 0"):
        nearest_neighbours(np.ones((3, 3)), 1, recall=0)
    with pytest.raises(ResightError, match="need an exact search"):
        nearest_neighbours(np.ones((3, 3)), 1, search="approximate", furthest=True)


def test_rows_of_length_1_are_taken_as_they_are():
    rows = rows_of(random_features(np.random.default_rng(9), 60, 5))
    assert nearest_neighbours(rows, 4).features is rows

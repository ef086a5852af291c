import importlib

import numba
import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from resight.clustering import Merging, PseudoLabels, bottom_up, merge_clusters, unit_rows
from resight.errors import ResightError


def dense_costs(x, labels, size_penalty, squared):
    """``(N, N)`` costs and distances, by definition.

    The squared distances are rounded to float32, as those of neighbour lists are: two pairs whose true distances are
    equal, but whose sums round differently in float64, are then a tie here as they are there.
    """
    unit = unit_rows(x).data.astype(np.float64)
    square = np.stack([((row - unit) ** 2).sum(axis=1) for row in unit]).astype(np.float32).astype(np.float64)
    distance = square if squared else np.sqrt(square)
    size = np.bincount(labels)[labels]
    return distance + size_penalty * (size[:, None] + size[None]), distance


def numbered(labels):
    """The same clusters, numbered by their lowest-index crop."""
    names = {name: number for number, name in enumerate(dict.fromkeys(np.asarray(labels).tolist()))}
    return np.array([names[name] for name in np.asarray(labels).tolist()])


def reference(x, labels, merges, size_penalty=0.0, squared=False, camera=None):
    """Every pair in order, clusters as labels that are overwritten."""
    cost, distance = dense_costs(x, labels, size_penalty, squared)
    first, second = np.triu_indices(len(labels), 1)
    order = np.lexsort((second, first, cost[first, second]))
    current = np.array(labels)
    costs, distances = [], []
    for i, j in zip(first[order], second[order], strict=True):
        if len(costs) == merges:
            break
        if current[i] != current[j] and (camera is None or camera[i] != camera[j]):
            current[current == current[j]] = current[i]
            costs.append(cost[i, j])
            distances.append(distance[i, j])
    return Merging(numbered(current), np.array(costs), np.array(distances))


def check(x, labels, merges, size_penalty=0.0, squared=False, camera=None, **options):
    found = merge_clusters(x, labels, merges, size_penalty=size_penalty, squared=squared, camera=camera, **options)
    expected = reference(x, labels, merges, size_penalty, squared, camera)
    np.testing.assert_array_equal(found.labels, expected.labels)
    # float32 squared distances may differ in their last digit: the two sums in float64 are taken in another order
    np.testing.assert_allclose(found.costs, expected.costs, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-6, atol=1e-7)
    assert found.labels.dtype == np.int64
    assert found.costs.dtype == found.distances.dtype == np.float64
    assert len(found.costs) == merges or camera is not None
    assert (np.diff(found.costs) >= 0).all()
    return found


def random_features(rng, n, d):
    return rng.normal(size=(n, d))


def grid_features(rng, n, d):
    """Few distinct values: exact duplicates and many ties."""
    x = rng.integers(-1, 2, size=(n, d))
    x[(x == 0).all(axis=1)] = 1
    return x.astype(np.float64)


def sign_features(rng, n, d):
    """Distances that no rounding touches where d is a power of 4."""
    return rng.choice([-1.0, 1.0], size=(n, d))


def group_features(rng, n, d):
    """Tight groups of very different sizes, some larger than the neighbour lists."""
    centres = rng.normal(size=(12, d))
    share = rng.gamma(0.7, size=12)
    return centres[rng.choice(12, n, p=share / share.sum())] + 0.1 * rng.normal(size=(n, d))


MAKES = [random_features, grid_features, sign_features, group_features]


def some_labels(rng, n, clusters):
    """Random clusters in any numbering, without gaps."""
    return rng.permutation(np.concatenate([np.arange(clusters), rng.integers(0, clusters, n - clusters)]))


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("seed", range(12))
def test_equals_sorting_every_pair(make, seed):
    rng = np.random.default_rng([seed, MAKES.index(make)])
    n, d = int(rng.integers(2, 120)), int(rng.choice([2, 4, 16, 33]))
    x = make(rng, n, d)
    starts = [np.arange(n), rng.permutation(n), some_labels(rng, n, int(rng.integers(1, n + 1)))]
    for labels in starts:
        clusters = labels.max() + 1
        for merges in {0, min(1, clusters - 1), clusters // 20, clusters // 2, clusters - 1}:
            size_penalty = float(rng.choice([0, 0.003, 0.05, 3, 1e6]))
            squared = bool(rng.integers(2))
            for k in (1, 2, 5, 200):
                check(x, labels, merges, size_penalty, squared, k=k)


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("size_penalty", [0, 0.003, 0.2])
def test_stages_in_turn(make, size_penalty):
    rng = np.random.default_rng(3)
    labels = np.arange(300)
    while labels.max() > 10:
        x = make(rng, 300, 4)  # features change between stages
        labels = check(x, labels, min(60, labels.max() - 5), size_penalty, k=6).labels


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("seed", range(6))
def test_pairs_of_one_camera_are_passed_over(make, seed):
    rng = np.random.default_rng([seed, MAKES.index(make), 7])
    n = int(rng.integers(2, 120))
    x = make(rng, n, int(rng.choice([2, 4, 16])))
    camera = rng.integers(0, int(rng.integers(1, 5)), n) * 3 - 1
    for labels in (np.arange(n), some_labels(rng, n, int(rng.integers(1, n + 1)))):
        for merges in {labels.max() // 10, labels.max()}:
            for k in (1, 5, 200):
                check(x, labels, merges, float(rng.choice([0, 0.003, 3])), camera=camera, k=k)


def test_one_camera_has_no_pairs_to_merge():
    found = merge_clusters(np.eye(5), np.arange(5), 2, camera=[7] * 5)
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
    assert len(found.costs) == len(found.distances) == 0
    with pytest.raises(ResightError, match="5 features, but 2 cameras"):
        merge_clusters(np.eye(5), np.arange(5), 2, camera=[1, 2])


@pytest.mark.parametrize("size_penalty", [0, 0.003])
def test_clusters_larger_than_the_lists(size_penalty):
    """Every list holds its own cluster only: all merges are found by comparing the crops."""
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(9, 16))
    labels = np.repeat(np.arange(9), 40)
    x = centres[labels] + 0.01 * rng.normal(size=(360, 16))
    for merges in (1, 4, 8):
        check(x, labels, merges, size_penalty, k=12)
    # single crops: the first 351 merges are within the groups
    check(x, np.arange(360), 355, size_penalty, k=12)


def test_equal_crops_in_different_clusters():
    x = np.repeat(random_features(np.random.default_rng(5), 6, 8), 50, axis=0)
    x = x[np.random.default_rng(6).permutation(300)]
    for merges in (1, 100, 293, 294, 299):
        for k in (4, 60):
            check(x, np.arange(300), merges, k=k)
            check(x, np.arange(300)[::-1], merges, 0.003, k=k)
    check(np.ones((200, 3)), np.arange(200), 77, k=3)


def test_ties_at_the_last_merge_fall_to_the_lowest_crops():
    x = np.eye(8)  # all pairs at one distance
    np.testing.assert_array_equal(merge_clusters(x, np.arange(8), 3, k=2).labels, [0, 0, 0, 0, 1, 2, 3, 4])
    x = np.eye(8)[[0, 1, 2, 3, 4, 5, 6, 7, 6, 7]]  # 6 and 8, 7 and 9 are equal
    np.testing.assert_array_equal(merge_clusters(x, np.arange(10), 3, k=2).labels, [0, 0, 1, 2, 3, 4, 5, 6, 5, 6])


def test_more_crops_than_a_strip(monkeypatch):
    rng = np.random.default_rng(7)
    x = np.concatenate([group_features(rng, 1500, 12), sign_features(rng, 900, 12)])
    labels = some_labels(rng, 2400, 1200)
    expected = {merges: reference(x, labels, merges, 0.003) for merges in (40, 900)}
    for count in (1, 3):
        monkeypatch.setattr(numba, "get_num_threads", lambda count=count: count)
        for merges, other in expected.items():
            for k in (1, 8, 32):
                found = merge_clusters(x, labels, merges, size_penalty=0.003, k=k)
                np.testing.assert_array_equal(found.labels, other.labels)
                np.testing.assert_allclose(found.costs, other.costs, rtol=1e-6)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_any_product_and_small_tiles(monkeypatch, kind):
    """Columns in pieces, several strips, and pairs taken up before a strip ends."""
    from resight.clustering.search.products import Products

    module = importlib.import_module("resight.clustering.bottom_up")  # the package holds the function of that name
    monkeypatch.setattr(module, "Products", lambda rows: Products(rows, kind))
    for name, value in {"_STRIP": 16, "_SAMPLED": 8, "TILE_ELEMENTS": 16, "_PENDING": 50, "_AT_ONCE": 60}.items():
        monkeypatch.setattr(module, name, value)
    for make in MAKES:
        rng = np.random.default_rng(8)
        x = make(rng, 150, 16)
        for labels in (np.arange(150), some_labels(rng, 150, 60)):
            for merges in (7, labels.max()):
                for k in (1, 4):
                    check(x, labels, merges, 0.003, k=k)


@pytest.mark.parametrize("seed", range(5))
def test_without_a_size_penalty_it_is_single_linkage(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(250, 6))
    tree = linkage(unit_rows(x).data.astype(np.float64), "single")
    for clusters in (1, 2, 25, 120, 249):
        expected = numbered(fcluster(tree, clusters, "maxclust"))
        found = bottom_up(x, clusters, size_penalty=0.0)
        assert isinstance(found, PseudoLabels)
        assert found.num_clusters == clusters
        assert found.num_outliers == 0
        assert found.facts == {}
        np.testing.assert_array_equal(found.labels, expected)
        merging = merge_clusters(x, np.arange(250), 250 - clusters, squared=True)
        np.testing.assert_array_equal(merging.labels, expected)
        np.testing.assert_allclose(np.sqrt(merging.costs), tree[: 250 - clusters, 2], rtol=1e-5)
    np.testing.assert_array_equal(bottom_up(x, 250).labels, np.arange(250))


def test_stages_count_the_sizes_anew():
    x = np.random.default_rng(12).normal(size=(103, 5))
    labels = np.arange(103)
    for merges in (21, 21, 21, 21, 9):  # a fifth of the crops, rounded up, until 10 are left
        labels = merge_clusters(x, labels, merges, size_penalty=0.05).labels
    np.testing.assert_array_equal(bottom_up(x, 10, share=0.2, size_penalty=0.05, k=4).labels, labels)
    assert not np.array_equal(bottom_up(x, 10, share=1.0, size_penalty=0.05).labels, labels)


def test_sizes_are_those_before_the_first_merge():
    """Crops on an arc, one degree apart: a cluster that grew would become too costly for a third crop."""
    angle = np.deg2rad([0, 1, 2, 3.01, 30, 32.1])
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = merge_clusters(x, np.arange(6), 3, size_penalty=1.0)
    np.testing.assert_array_equal(found.labels, [0, 0, 0, 0, 1, 2])
    np.testing.assert_allclose(found.costs - found.distances, 2.0)
    again = merge_clusters(x, found.labels, 1, size_penalty=1.0)
    np.testing.assert_array_equal(again.labels, [0, 0, 0, 0, 1, 1])


def test_no_merges_renumber_the_clusters():
    found = merge_clusters(np.eye(5), [2, 0, 1, 0, 2], 0)
    assert found.labels.tolist() == [0, 1, 2, 1, 0]
    assert found.costs.shape == found.distances.shape == (0,)
    assert found.recall is None


def test_features_that_stay_on_disk_give_the_same_clusters(tmp_path):
    x = np.random.default_rng(9).normal(size=(400, 24)).astype(np.float16)
    x[50:90] = x[:40]
    held = np.memmap(tmp_path / "features", dtype=np.float16, mode="w+", shape=x.shape)
    held[:] = x
    rows = unit_rows(held, memory=0)
    assert not rows.held
    for k in (1, 3, 20):
        expected = merge_clusters(x, np.arange(400), 150, size_penalty=0.003, k=k)
        for features in (rows, held):
            found = merge_clusters(features, np.arange(400), 150, size_penalty=0.003, k=k, memory=1)
            np.testing.assert_array_equal(found.labels, expected.labels)
            np.testing.assert_allclose(found.costs, expected.costs, rtol=1e-6)
    np.testing.assert_array_equal(bottom_up(held, 9, memory=1).labels, bottom_up(x, 9).labels)


def test_approximate_neighbours():
    rng = np.random.default_rng(10)
    person = rng.integers(0, 200, 4000)
    x = rng.normal(size=(200, 24))[person] + 0.3 * rng.normal(size=(4000, 24))
    exact = merge_clusters(x, np.arange(4000), 2000, k=8)
    found = merge_clusters(x, np.arange(4000), 2000, k=8, search="approximate", recall=0.6)
    assert found.recall is not None
    assert 0.5 < found.recall < 1
    assert found.labels.max() == exact.labels.max() == 1999
    assert bottom_up(x, 2000, k=8, search="approximate", recall=0.6).facts == {"neighbour_recall": found.recall}
    assert (found.costs >= exact.costs).all()  # some pairs are missing
    # The lists of whole clusters hold no pair of two: all pairs are compared, and the result is exact.
    labels = numbered(person)
    found = merge_clusters(x, labels, 150, k=2, search="approximate", recall=0.6)
    assert found.recall is None
    np.testing.assert_array_equal(found.labels, merge_clusters(x, labels, 150).labels)


@pytest.mark.parametrize("merges", [-1, 3, 100])
def test_impossible_numbers_of_merges_are_refused(merges):
    with pytest.raises(ResightError, match=rf"3 clusters can be merged 0 to 2 times, got merges={merges}"):
        merge_clusters(np.eye(4), [0, 1, 2, 1], merges)


@pytest.mark.parametrize("size_penalty", [-0.1, float("nan"), float("inf")])
def test_impossible_size_penalties_are_refused(size_penalty):
    with pytest.raises(ResightError, match="size_penalty of bottom-up clustering must be a number of at least 0"):
        merge_clusters(np.eye(4), np.arange(4), 1, size_penalty=size_penalty)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 1, 2], "There are 4 features, but 3 labels"),
        ([0, 1, 3, 3], "no crop has label 2"),
        ([0, 1, -1, 1], r"Crop 2 is an outlier \(label -1\)"),
        ([-1, -1, -1, -1], r"Crop 0 is an outlier"),
        ([0, 1, -2, 1], "got -2"),
        ([[0, 1, 2, 3]], "one integer per crop"),
        ([0.0, 1.0, 2.0, 3.0], "one integer per crop"),
    ],
)
def test_labels_that_are_no_clusters_are_refused(labels, says):
    with pytest.raises(ResightError, match=says):
        merge_clusters(np.eye(4), labels, 1)


def test_other_impossible_settings_are_refused():
    with pytest.raises(ResightError, match="k must be at least 1"):
        merge_clusters(np.eye(4), np.arange(4), 1, k=0)
    with pytest.raises(ResightError, match="auto, exact or approximate, got 'quick'"):
        merge_clusters(np.eye(4), np.arange(4), 1, search="quick")
    for clusters in (0, 5):
        with pytest.raises(ResightError, match=f"4 crops form 1 to 4 clusters, got clusters={clusters}"):
            bottom_up(np.eye(4), clusters)
    for share in (0.0, 1.5):
        with pytest.raises(ResightError, match=f"above 0 and at most 1, got {share}"):
            bottom_up(np.eye(4), 2, share=share)
    with pytest.raises(ResightError, match="size_penalty"):
        bottom_up(np.eye(4), 2, size_penalty=-1.0)

import re

import numpy as np
import pytest
from sklearn.cluster import DBSCAN

from resight.clustering import (
    NoClusters,
    PseudoLabels,
    cameras,
    centre_by_camera,
    cluster_crops,
    clustering_quality,
    find_neighbours,
    jaccard_distance,
    labels,
    unit_rows,
)
from resight.errors import ResightError


def people(seed: int, n: int = 240, cameras: int = 4, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, identities and cameras; ``shift`` moves every camera its own way."""
    rng = np.random.default_rng(seed)
    identity, camera = rng.integers(0, n // 16, n), rng.integers(0, cameras, n)
    x = rng.normal(size=(n // 16, 24))[identity] + shift * rng.normal(size=(cameras, 24))[camera]
    return x + 0.5 * rng.normal(size=(n, 24)), identity + 1, camera


def test_stage_is_neighbours_then_jaccard_then_dbscan():
    x, _, _ = people(0)
    J = jaccard_distance(x, 20, 6)
    distance = np.ones(J.shape, np.float32)
    distance[J.tocoo().row, J.tocoo().col] = J.data
    for eps in (0.3, 0.5, 0.7):
        expected = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit(distance).labels_
        found = cluster_crops(x, k1=20, k2=6, eps=eps, min_samples=4)
        np.testing.assert_array_equal(found.labels, expected)
        assert found.num_clusters == expected.max() + 1
        assert found.num_outliers == (expected == -1).sum()
        assert found.cluster_sizes.sum() + found.num_outliers == len(found) == len(x)


def test_cameras_are_ignored_unless_centring_is_asked_for():
    x, _, camera = people(1)
    np.testing.assert_array_equal(cluster_crops(x, camera=camera).labels, cluster_crops(x).labels)


def test_centring_takes_the_camera_mean_away():
    x, _, camera = people(2, shift=2.0)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = np.empty_like(unit)
    for i in range(len(x)):
        expected[i] = unit[i] - unit[camera == camera[i]].mean(axis=0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(centre_by_camera(x, camera), expected, atol=1e-6)
    np.testing.assert_array_equal(
        cluster_crops(x, camera=camera, centre_cameras=True).labels, cluster_crops(expected).labels
    )


def test_scaling_divides_by_deviations_that_lean_on_all_crops():
    x, _, camera = people(2, shift=2.0)
    camera[:3] = 7  # a camera of three crops
    unit = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float64)
    expected = np.empty_like(unit)
    for i in range(len(x)):
        own = unit[camera == camera[i]]
        share = len(own) / (len(own) + 5)
        variance = share * own.var(axis=0) + (1 - share) * unit.var(axis=0)
        expected[i] = (unit[i] - own.mean(axis=0)) / (np.sqrt(variance) + 1e-3)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(centre_by_camera(x, camera, scale=True), expected, atol=1e-5)
    for centre in (False, True):
        found = cluster_crops(x, camera=camera, centre_cameras=centre, scale_cameras=True)
        np.testing.assert_array_equal(found.labels, cluster_crops(centre_by_camera(x, camera, scale=True)).labels)
    with pytest.raises(ResightError, match=r"clustering\.scale_cameras needs the camera"):
        cluster_crops(x, scale_cameras=True)


def test_centring_reunites_people_across_shifted_cameras():
    from resight.clustering import clustering_quality

    x, identity, camera = people(3, n=400, shift=1.5)
    apart = clustering_quality(cluster_crops(x, eps=0.5), identity)
    centred = clustering_quality(cluster_crops(x, eps=0.5, camera=camera, centre_cameras=True), identity)
    assert centred["pair_recall"] > apart["pair_recall"]


def test_a_crop_that_is_its_camera_mean_keeps_its_feature():
    x, _, camera = people(4)
    camera[:] = 0
    camera[7] = 5  # alone
    camera[[20, 21]] = 6  # two of the same
    x[21] = x[20]
    centred = centre_by_camera(x, camera)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(centred[[7, 20, 21]], unit[[7, 20, 21]], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(centred, axis=1), 1, atol=1e-6)


def test_single_camera_is_centred_as_one_group():
    x, _, _ = people(5)
    assert cluster_crops(x, camera=np.zeros(len(x), int), centre_cameras=True).num_clusters > 1


def test_centring_without_cameras_is_refused():
    x, _, _ = people(6)
    with pytest.raises(ResightError, match=r"clustering\.centre_cameras needs the camera"):
        cluster_crops(x, centre_cameras=True)
    with pytest.raises(ResightError, match="one camera per crop"):
        cluster_crops(x, camera=np.zeros(3, int), centre_cameras=True)


def noise(seed: int, n: int, d: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("min_samples", [2, 4, 6])
def test_no_clusters_suggests_an_eps_that_clusters(min_samples):
    x = noise(0, 300)
    with pytest.raises(NoClusters) as caught:
        cluster_crops(x, eps=0.02, min_samples=min_samples)
    said = str(caught.value)
    for key in ("clustering.eps", "clustering.k1", "clustering.min_samples"):
        assert key in said
    stored = jaccard_distance(x).tocoo()
    full = np.ones(stored.shape)
    full[stored.row, stored.col] = stored.data
    deciding = np.sort(full, axis=1)[:, min_samples - 1]
    figures = " / ".join(f"{value:.3f}" for value in np.quantile(deciding, [0.1, 0.5, 0.9]))
    assert figures in said
    suggested = re.search(r"Try clustering\.eps=(\d\.\d+)", said)
    assert suggested is not None
    assert cluster_crops(x, eps=float(suggested[1]), min_samples=min_samples).num_clusters >= 1


def test_no_clusters_looks_at_a_sample_of_many_crops(monkeypatch):
    x = noise(1, 500)
    x[:250] = x[250:]  # twins: a rank counted from a wrong crop would be found out
    setting = {"eps": 0.001, "min_samples": 8}
    with pytest.raises(NoClusters) as whole:
        cluster_crops(x, **setting)
    monkeypatch.setattr(labels, "_SAMPLED_ROWS", 499)
    with pytest.raises(NoClusters) as sample:
        cluster_crops(x, **setting)
    numbers = [
        [float(value) for value in re.findall(r"(\d\.\d{3}) [/(]", str(caught.value))] for caught in (whole, sample)
    ]
    assert len(numbers[0]) == 3
    np.testing.assert_allclose(numbers[0], numbers[1], atol=0.01)


def test_fewer_crops_than_min_samples():
    with pytest.raises(NoClusters, match=r"fewer crops than clustering\.min_samples=4"):
        cluster_crops(noise(0, 3))


@pytest.mark.parametrize("n", [4, 5, 40])
def test_nothing_in_common_means_no_eps_helps(n):
    with pytest.raises(NoClusters, match=r"No clustering\.eps helps.*raise clustering\.k1 \(now 1\)"):
        cluster_crops(noise(0, n), k1=1, k2=1)


def test_four_crops_make_a_cluster():
    assert cluster_crops(np.ones((4, 3)), eps=0.5).labels.tolist() == [0, 0, 0, 0]


def test_settings_are_checked_before_the_work():
    for setting, says in (
        ({"eps": 0.0}, "eps"),
        ({"min_samples": 0}, "min_samples"),
        ({"k1": 0}, "k1"),
        ({"k2": 0}, "k2"),
    ):
        with pytest.raises(ResightError, match=rf"clustering\.{says} must"):
            cluster_crops(None, **setting)


def test_pseudo_labels():
    found = PseudoLabels(np.array([1, -1, 0, 1, 1, -1], np.int32))
    assert found.labels.dtype == np.int64
    assert (found.num_clusters, found.num_outliers, len(found)) == (2, 2, 6)
    assert found.cluster_sizes.tolist() == [1, 3]
    nothing = PseudoLabels(np.array([-1, -1]))
    assert (nothing.num_clusters, nothing.num_outliers) == (0, 2)
    assert nothing.cluster_sizes.tolist() == []


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([0, 2, 2], "no crop has label 1"),
        ([1, 1], "no crop has label 0"),
        ([-2, 0], "got -2"),
        ([0.0, 1.0], "one integer per crop"),
        ([[0, 1]], "one integer per crop"),
    ],
)
def test_labels_that_are_not_contiguous_are_refused(bad, says):
    with pytest.raises(ResightError, match=says):
        PseudoLabels(np.array(bad))


def test_the_search_is_chosen_and_its_recall_told():
    rng = np.random.default_rng(4)
    person = np.repeat(np.arange(60), 20)
    x = rng.normal(size=(60, 16))[person] + 0.2 * rng.normal(size=(1200, 16))
    exact = cluster_crops(x, k1=15, eps=0.6)
    near = cluster_crops(x, k1=15, eps=0.6, search="approximate", recall=0.99)
    assert "neighbour_recall" not in exact.facts
    assert near.facts["neighbour_recall"] > 0.95
    assert clustering_quality(near, person + 1)["all_ari"] == pytest.approx(
        clustering_quality(exact, person + 1)["all_ari"], abs=0.05
    )
    with pytest.raises(ResightError, match=r"clustering\.search must be"):
        cluster_crops(x, search="nearby")


def test_centring_reads_features_that_are_not_held(monkeypatch):
    rng = np.random.default_rng(5)
    x, camera = rng.normal(size=(500, 12)).astype(np.float16), rng.integers(3, size=500)
    expected = centre_by_camera(x, camera)
    given = x.copy()
    monkeypatch.setattr(cameras, "unit_rows", lambda features: unit_rows(features, memory=0))
    monkeypatch.setattr(cameras, "_BLOCK", 64)
    np.testing.assert_allclose(centre_by_camera(x, camera), expected, atol=1e-7)
    np.testing.assert_array_equal(x, given)


def test_neighbours_found_before_give_the_same_labels():
    x, _, camera = people(6, shift=1.0)
    for settings in ({}, {"centre_cameras": True}):
        neighbours = find_neighbours(x, 25, camera=camera, **settings)
        expected = cluster_crops(x, k1=20, camera=camera, **settings)
        np.testing.assert_array_equal(cluster_crops(neighbours, k1=20).labels, expected.labels)
    with pytest.raises(ResightError, match="search for k=30"):
        cluster_crops(neighbours, k1=30)
    with pytest.raises(NoClusters, match=r"clustering\.eps"):
        cluster_crops(neighbours, k1=20, eps=0.001)


def test_distances_below_a_limit_are_returned_where_asked_for():
    x, _, _ = people(0)
    plain = cluster_crops(x, k1=20, k2=6, eps=0.5)
    assert plain.distances is None
    whole = jaccard_distance(x, 20, 6)
    for limit in (0.3, 0.8):
        found = cluster_crops(x, k1=20, k2=6, eps=0.5, keep_within=limit)
        np.testing.assert_array_equal(found.labels, plain.labels)
        kept = whole.data < limit
        assert found.distances is not None
        np.testing.assert_array_equal(found.distances.data, whole.data[kept])
        np.testing.assert_array_equal(found.distances.indices, whole.indices[kept])
        np.testing.assert_array_equal(np.diff(found.distances.indptr)[0], kept[: whole.indptr[1]].sum())

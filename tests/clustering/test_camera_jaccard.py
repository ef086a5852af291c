"""Camera-aware Jaccard distance against a dense reference that follows the paper's sentences."""

import numpy as np
import pytest

from resight.clustering import camera_jaccard, camera_neighbours, cluster_crops, dbscan, find_neighbours
from resight.errors import ResightError


def crops(count=90, cameras=3, seed=0):
    rng = np.random.default_rng(seed)
    identity, camera = np.arange(count) % 9, rng.integers(0, cameras, count)
    centres, shift = rng.normal(size=(9, 12)), rng.normal(size=(cameras, 12))
    features = centres[identity] + 0.8 * shift[camera] + 0.6 * rng.normal(size=(count, 12))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features.astype(np.float32), camera


def reference(features, camera, intra_k1, inter_k1, intra_k2, inter_k2):
    size = len(features)
    wide = features.astype(np.float64)
    distance = ((wide[:, None] - wide[None]) ** 2).sum(2).astype(np.float32).astype(np.float64)
    same = camera[:, None] == camera[None]

    def ranked(i, allowed, k):
        order = np.argsort(distance[i], kind="stable")
        return [j for j in order if allowed[j]][:k]

    intra = [[i, *[j for j in ranked(i, same[i], size) if j != i][:intra_k1]] for i in range(size)]
    inter = [ranked(i, ~same[i], inter_k1 + 1) for i in range(size)]
    weights = np.zeros((size, size))
    for i in range(size):
        members = [j for j in intra[i] if i in intra[j]] + [j for j in inter[i] if i in inter[j]]
        weights[i, members] = np.exp(-distance[i, members])
        weights[i] /= weights[i].sum()
    weights = np.stack([weights[[*intra[i][:intra_k2], *inter[i][:inter_k2]]].mean(0) for i in range(size)])
    shared = np.minimum(weights[:, None], weights[None]).sum(2)
    return 1 - shared / (2 - shared)


@pytest.mark.parametrize("sizes", [(5, 20, 2, 4), (3, 7, 3, 3), (50, 100, 1, 0)])
def test_equals_the_reference(sizes):
    features, camera = crops()
    found = camera_jaccard(
        camera_neighbours(features, camera, intra_k1=sizes[0], inter_k1=sizes[1]), intra_k2=sizes[2], inter_k2=sizes[3]
    )
    true = reference(features, camera, *sizes)
    np.fill_diagonal(true, 0)
    stored = np.ones(found.shape)
    rows = np.repeat(np.arange(len(features)), np.diff(found.indptr))
    stored[rows, found.indices] = found.data
    np.testing.assert_allclose(stored, np.where(true < 1 - 1e-12, true, 1), atol=1e-6)
    assert (abs(found - found.T)).max() == 0


def test_a_camera_of_one_crop_and_a_single_camera():
    features, camera = crops(40)
    camera[:] = 0
    camera[7] = 5
    found = camera_jaccard(camera_neighbours(features, camera))
    assert np.isfinite(found.data).all()
    assert (found.diagonal() == 0).all()
    alone = camera_neighbours(features, np.zeros(40, int))
    assert (alone.across == -1).all()
    assert len(camera_jaccard(alone).data) > 40


def test_an_approximate_search_finds_enough_and_fills_up_short_lists():
    features, camera = crops(600, cameras=4)
    exact = camera_neighbours(features, camera)
    found = camera_neighbours(features, camera, search="approximate", recall=0.9)
    shared = [len(set(a) & set(b)) for a, b in zip(exact.across, found.across, strict=True)]
    assert np.sum(shared) > 0.85 * exact.across.size
    assert (found.across >= 0).all()
    assert found.recall is not None
    assert (camera[found.across] != camera[:, None]).all()


def test_labels_by_the_camera_aware_distance():
    features, camera = crops(150)
    sizes = {"intra_k1": 3, "inter_k1": 9}
    aware = cluster_crops(features, camera=camera, eps=0.55, camera_jaccard=True, **sizes, keep_within=0.3)
    distances = camera_jaccard(camera_neighbours(features, camera, **sizes))
    np.testing.assert_array_equal(aware.labels, dbscan(distances, 0.55, 4))
    assert aware.distances is not None
    assert aware.distances.nnz == (distances.data < 0.3).sum()
    centred = {"camera": camera, "centre_cameras": True}
    given = find_neighbours(features, 30, **centred)
    again = cluster_crops(given, camera=camera, eps=0.55, camera_jaccard=True)
    direct = cluster_crops(features, eps=0.55, camera_jaccard=True, **centred)
    np.testing.assert_array_equal(again.labels, direct.labels)


def test_eps_is_chosen_on_the_camera_aware_distance():
    features, camera = crops(150)
    found = cluster_crops(features, camera=camera, eps="auto", camera_jaccard=True, inter_k1=9)
    assert "k1" not in found.facts
    assert f"eps {found.facts['eps']:g} has the highest score" in found.sentences[0]
    assert "k1" not in found.sentences[0]
    same = cluster_crops(features, camera=camera, eps=found.facts["eps"], camera_jaccard=True, inter_k1=9)
    np.testing.assert_array_equal(found.labels, same.labels)


def test_two_cameras_fall_back_and_none_is_a_sentence():
    features, camera = crops(150, cameras=2)
    found = cluster_crops(features, k1=20, camera=camera, camera_jaccard=True)
    np.testing.assert_array_equal(found.labels, cluster_crops(features, k1=20).labels)
    assert found.sentences == (
        "clustering.camera_jaccard needs at least 3 cameras and there are 2, so the distance is the one without "
        "cameras.",
    )
    with pytest.raises(ResightError, match=r"clustering\.camera_jaccard needs the camera of every crop"):
        cluster_crops(features, camera_jaccard=True)


def test_bad_input_is_a_sentence():
    features, camera = crops(20)
    with pytest.raises(ResightError, match="one camera per crop"):
        camera_neighbours(features, camera[:3])
    with pytest.raises(ResightError, match="intra_k1"):
        camera_neighbours(features, camera, intra_k1=0)
    with pytest.raises(ResightError, match="camera_neighbours makes them"):
        camera_jaccard(features)

"""Re-ranking against dense loops written straight from the definitions."""

import numpy as np
import pytest

from resight.errors import ResightError
from resight.evaluation import RerankOptions, rerank_distances


def slow_rerank(distances, num_queries, k1, k2, lam):
    """From the ``(N, N)`` squared distances of query and gallery together, with sets and loops."""
    size = len(distances)
    ranking = [sorted(range(size), key=lambda j, i=i: (j != i, distances[i, j], j)) for i in range(size)]
    scaled = np.array([row / row.max() if row.max() > 0 else row for row in distances])

    def reciprocal(i, count):
        return {j for j in ranking[i][:count] if i in ranking[j][:count]}

    encoding = np.zeros((size, size))
    for i in range(size):
        near = reciprocal(i, k1 + 1)
        expanded = set(near)
        for c in near:
            half = reciprocal(c, int(np.around(k1 / 2)) + 1)
            if 3 * len(half & near) > 2 * len(half):
                expanded |= half
        for j in expanded:
            encoding[i, j] = np.exp(-scaled[i, j])
        encoding[i] /= encoding[i].sum()
    encoding = np.array([encoding[ranking[i][:k2]].mean(axis=0) for i in range(size)])
    final = np.empty((num_queries, size - num_queries))
    for i in range(num_queries):
        for j in range(num_queries, size):
            shared = np.minimum(encoding[i], encoding[j]).sum()
            jaccard = max(0, 1 - shared / (2 - shared))
            final[i, j - num_queries] = (1 - lam) * jaccard + lam * scaled[i, j]
    return final


def crowd(seed, num_queries=20, num_gallery=70, width=8, people=9, noise=0.5):
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(people, width))
    size = num_queries + num_gallery
    features = centre[rng.integers(0, people, size)] + noise * rng.normal(size=(size, width))
    return features[:num_queries], features[num_queries:]


def exact_distances(query, gallery):
    features = np.concatenate([query, gallery]).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return ((features[:, None] - features[None]) ** 2).sum(axis=2)


@pytest.mark.parametrize(
    ("k1", "k2", "lam"),
    [(20, 6, 0.3), (7, 2, 0.0), (10, 1, 0.5), (5, 9, 0.2), (5, 3, 1.0), (1, 1, 0.3), (89, 6, 0.3), (500, 200, 0.3)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_against_loops(seed, k1, k2, lam):
    query, gallery = crowd(seed)
    result = rerank_distances(query, gallery, k1, k2, lam)
    assert result.dtype == np.float32
    assert result.shape == (20, 70)
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6
    np.testing.assert_allclose(result, slow_rerank(exact_distances(query, gallery), 20, k1, k2, lam), atol=2e-6)


@pytest.mark.parametrize("k1", [3, 6, 20])
def test_ties_and_duplicates(k1):
    """One-hot-like vectors: every distance is 0, 1 or 2 exactly, so all order is by index."""
    rng = np.random.default_rng(k1)
    signs = rng.choice([-1.0, 1.0], 60)
    features = np.zeros((60, 8))
    features[np.arange(60), rng.integers(0, 8, 60)] = signs
    query, gallery = features[:15], features[15:]
    distances = np.round(exact_distances(query, gallery))
    assert set(np.unique(distances)) == {0, 2, 4}
    result = rerank_distances(query, gallery, k1, 4, 0.3)
    np.testing.assert_allclose(result, slow_rerank(distances, 15, k1, 4, 0.3), atol=2e-6)


def test_all_crops_alike():
    result = rerank_distances(np.ones((3, 4)), np.ones((5, 4)), k1=20, k2=6)
    np.testing.assert_allclose(result, 0, atol=1e-6)


def test_one_query_one_crop():
    np.testing.assert_allclose(rerank_distances([[1.0, 0.0]], [[0.0, 1.0]], k1=1, k2=1, lam=1.0), [[1.0]])


def test_blocks_do_not_matter(monkeypatch):
    query, gallery = crowd(4)
    whole = rerank_distances(query, gallery)
    for size in (1, 2000, 50_000):
        monkeypatch.setattr("resight.evaluation.reranking.BLOCK_BYTES", size)
        np.testing.assert_allclose(rerank_distances(query, gallery), whole, atol=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.3])
def test_duplicates_of_queries_and_gallery(lam):
    """Ties at distance 0 at the head of many rankings, and copies on both sides."""
    query, gallery = crowd(7)
    gallery[40:60] = gallery[:20]
    gallery[60:66] = query[0]
    query[10:14] = gallery[3]
    result = rerank_distances(query, gallery, 8, 4, lam)
    np.testing.assert_allclose(result, slow_rerank(exact_distances(query, gallery), 20, 8, 4, lam), atol=2e-6)


def test_reranking_helps_where_neighbours_are_reciprocal():
    from resight.evaluation import evaluate_retrieval

    rng = np.random.default_rng(8)
    centre = rng.normal(size=(15, 32))
    identity = np.repeat(np.arange(15), 14)
    features = centre[identity] + 1.6 * rng.normal(size=(210, 32))
    query = np.arange(210) % 14 < 3
    arguments = (features[query], features[~query], identity[query] + 1, identity[~query] + 1)
    plain = evaluate_retrieval(*arguments)
    reranked = evaluate_retrieval(*arguments, rerank=RerankOptions(k1=10, k2=4))
    assert reranked.mAP > plain.mAP + 0.02


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"k1": 0}, "at least 1"),
        ({"k2": 0}, "at least 1"),
        ({"lam": 1.5}, "between 0 and 1"),
        ({"lam": np.nan}, "lam .* got nan"),
    ],
)
def test_impossible_settings(settings, sentence):
    with pytest.raises(ResightError, match=sentence):
        RerankOptions(**settings)
    with pytest.raises(ResightError, match=sentence):
        rerank_distances(np.eye(2), np.eye(2), **settings)


def test_bad_features():
    with pytest.raises(ResightError, match="gallery row 1 is all zeros"):
        rerank_distances(np.eye(2), np.array([[1.0, 0], [0, 0]]))
    with pytest.raises(ResightError, match="same encoder"):
        rerank_distances(np.eye(2), np.eye(3))


def test_camera_aware_reranking():
    """The Jaccard distance is that of the clustering, which has a slow reference; the mixture is the usual one."""
    from resight.clustering import camera_jaccard, camera_neighbours
    from resight.evaluation import evaluate_retrieval
    from resight.evaluation.distances import Rows
    from resight.evaluation.reranking import Reranking

    query, gallery = crowd(3)
    camera = np.random.default_rng(3).integers(0, 4, 90)
    options = RerankOptions(cameras=True, intra_k1=4, inter_k1=9, lam=0.3)
    features = np.concatenate([query, gallery]).astype(np.float32)
    found = Reranking(Rows(query), Rows(gallery), options, camera=camera)(slice(0, 20))
    sparse = camera_jaccard(camera_neighbours(features, camera, intra_k1=4, inter_k1=9))[:20, 20:].tocoo()
    jaccard = np.ones((20, 70))
    jaccard[sparse.row, sparse.col] = sparse.data
    distances = exact_distances(query, gallery)
    scaled = distances[:20, 20:] / distances[:20].max(axis=1, keepdims=True)
    np.testing.assert_allclose(found, 0.7 * jaccard + 0.3 * scaled, atol=2e-6)
    who = np.arange(90) % 9 + 1
    parts = (query, gallery, who[:20], who[20:])
    scores = evaluate_retrieval(*parts, camera[:20], camera[20:], rerank=options).to_dict()
    assert scores["rerank"] == {"intra_k1": 4, "inter_k1": 9, "intra_k2": 2, "inter_k2": 4, "lam": 0.3}
    for cameras, there in (((None, None), "none are known"), ((camera[:20] % 2, camera[20:] % 2), "there are 2")):
        with pytest.raises(ResightError, match=f"of at least 3 cameras, and {there}: re-rank without"):
            evaluate_retrieval(*parts, *cameras, rerank=options)

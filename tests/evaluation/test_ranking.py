"""Ranking metrics against loops written straight from the definitions."""

import json

import numpy as np
import pytest

from resight.errors import ResightError
from resight.evaluation import RerankOptions, evaluate_distances, evaluate_retrieval, rerank_distances
from resight.evaluation import distances as room
from resight.evaluation.distances import DistanceRows, Rows, unit_features, unit_rows


def slow_metrics(distances, query_identity, gallery_identity, query_camera, gallery_camera, ap, max_rank):
    """One query at a time, one rank at a time."""
    precisions, firsts, inverse_negatives = [], [], []
    for q in range(len(query_identity)):
        kept = []
        for g in range(len(gallery_identity)):
            if gallery_identity[g] == -1:
                continue
            if (
                query_camera is not None
                and gallery_identity[g] == query_identity[q]
                and gallery_camera[g] == query_camera[q]
            ):
                continue
            kept.append(g)
        kept.sort(key=lambda g: (distances[q, g], g))
        hits = [gallery_identity[g] == query_identity[q] for g in kept]
        total = sum(hits)
        if total == 0:
            continue
        seen, value, old_recall, old_precision = 0, 0.0, 0.0, 1.0
        ranks = []
        for rank, hit in enumerate(hits, start=1):
            seen += hit
            if hit:
                ranks.append(rank)
            if ap == "standard":
                value += hit * seen / rank / total
            else:
                recall, precision = seen / total, seen / rank
                value += (recall - old_recall) * (old_precision + precision) / 2
                old_recall, old_precision = recall, precision
        precisions.append(value)
        firsts.append(ranks[0])
        inverse_negatives.append(total / ranks[-1])
    return {
        "mAP": np.mean(precisions),
        "mINP": np.mean(inverse_negatives),
        "rank1": np.mean([first <= 1 for first in firsts]),
        "rank5": np.mean([first <= 5 for first in firsts]),
        "rank10": np.mean([first <= 10 for first in firsts]),
        "cmc": [np.mean([first <= k for first in firsts]) for k in range(1, max_rank + 1)],
        "scored_queries": len(firsts),
        "skipped_queries": len(query_identity) - len(firsts),
    }


def agree(metrics, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(metrics, name), value, rtol=0, atol=1e-9, err_msg=name)


def unit_distances(query, gallery):
    return DistanceRows(unit_features(query, "query"), *unit_rows(Rows(np.asarray(gallery)), "gallery"))


def distances_without_junk(query, gallery, gallery_identity):
    """As the evaluation computes them for all queries at once: products leave junk out."""
    distances = np.full((len(query), len(gallery)), np.nan, dtype=np.float32)
    kept = gallery_identity != -1
    distances[:, kept] = unit_distances(query, gallery[kept])(slice(0, len(query)))
    return distances


def world(seed, num_queries=45, num_gallery=160, width=4, levels=3):
    """Grid features with many equal distances and duplicates; junk, distractors, persons of a single camera."""
    rng = np.random.default_rng(seed)
    people = 14
    query = rng.integers(0, levels, (num_queries, width)).astype(np.float64)
    gallery = rng.integers(0, levels, (num_gallery, width)).astype(np.float64)
    query[:, 0] += 1  # no row of zeros
    gallery[:, 0] += 1
    gallery[num_gallery // 2 :: 5] = gallery[: len(gallery[num_gallery // 2 :: 5])]
    query_identity = rng.integers(1, people + 1, num_queries)
    gallery_identity = rng.integers(-1, people + 1, num_gallery)
    query_camera = rng.integers(0, 3, num_queries)
    gallery_camera = rng.integers(0, 3, num_gallery)
    for person in (1, 2):  # seen by camera 1 alone: never a right answer
        query_camera[query_identity == person] = 1
        gallery_camera[gallery_identity == person] = 1
    gallery_identity[gallery_identity == 3] = 0  # not in the gallery at all
    return query, gallery, query_identity, gallery_identity, query_camera, gallery_camera


@pytest.mark.parametrize("ap", ["standard", "trapezoidal"])
@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_distances_with_exact_ties(seed, cameras, ap):
    query, gallery, *labels = world(seed)
    distances = ((query[:, None] - gallery[None]) ** 2).sum(axis=2).astype([np.float64, np.float32, np.int64][seed % 3])
    assert len(np.unique(distances)) < 50, "the test is about ties"
    before = distances.copy()
    if not cameras:
        labels[2:] = [None, None]
    expected = slow_metrics(distances, *labels, ap, 20)
    assert expected["skipped_queries"] > 0
    for block in (None, 1, 7, 1000):
        metrics = evaluate_distances(distances, *labels, ap=ap, max_rank=20, block=block)
        agree(metrics, expected)
    assert metrics.ap == ap
    assert metrics.camera_rule is cameras
    assert metrics.num_queries == len(query)
    assert metrics.gallery_size == len(gallery)
    assert metrics.gallery_junk == (labels[1] == -1).sum() > 0
    np.testing.assert_array_equal(distances, before)


@pytest.mark.parametrize("ap", ["standard", "trapezoidal"])
@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int32])
def test_features(kind, cameras, ap):
    query, gallery, *labels = world(11)
    query, gallery = query.astype(kind), gallery.astype(kind)
    if not cameras:
        labels[2:] = [None, None]
    distances = distances_without_junk(query, gallery, labels[1])
    metrics = evaluate_retrieval(query, gallery, *labels, ap=ap, block=len(query))
    agree(metrics, slow_metrics(distances, *labels, ap, 50))
    assert metrics.rerank is None


def test_blocks_do_not_matter_and_neither_does_scale():
    rng = np.random.default_rng(5)
    _, _, *labels = world(5)
    query, gallery = rng.normal(size=(45, 8)), rng.normal(size=(160, 8))
    whole = evaluate_retrieval(query, gallery, *labels)
    for block in (1, 7, 44):
        assert evaluate_retrieval(query, gallery, *labels, block=block).to_dict() == whole.to_dict()
    scale = np.exp(rng.normal(size=(45, 1)) * 20)
    assert evaluate_retrieval(query * scale, gallery * 1e-20, *labels).to_dict() == whole.to_dict()


def test_distance_is_that_of_unit_vectors():
    rng = np.random.default_rng(6)
    query, gallery = rng.normal(size=(5, 16)) * 7, rng.normal(size=(9, 16)) * 0.1
    a = query / np.linalg.norm(query, axis=1, keepdims=True)
    b = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    expected = np.linalg.norm(a[:, None] - b[None], axis=2) ** 2
    np.testing.assert_allclose(unit_distances(query, gallery)(slice(0, 5)), expected, atol=1e-6)


@pytest.mark.parametrize("size", [13, 101, 203])
@pytest.mark.parametrize("width", [3, 64, 512])
def test_exact_duplicates_tie(width, size):
    rng = np.random.default_rng(width)
    gallery = rng.normal(size=(37, width))
    gallery[:, 0] = 0
    gallery = gallery[rng.integers(0, 37, size)]
    gallery[::2, 0] = -0.0
    query = rng.normal(size=(9, width))
    rows = unit_distances(query, gallery)
    _, same = np.unique(gallery, axis=0, return_inverse=True)
    for part in (slice(0, 9), slice(4, 6), *(slice(row, row + 1) for row in range(9))):
        distances = rows(part)
        for group in range(same.max() + 1):
            copies = distances[:, same.ravel() == group]
            assert (copies == copies[:, :1]).all()


@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("rights", [64, 65, 1024, 1025, 1800])
def test_many_right_answers(rights, kind, cameras):
    """Few are each compared with the whole row, many are looked up at once; ties abound in both."""
    rng = np.random.default_rng(rights)
    size = 2 * rights + 300
    gallery_identity = rng.permutation(np.repeat([5, 6, 0, -1], [rights, rights, 200, 100]))
    labels = [np.array([5, 6, 5]), gallery_identity, None, None]
    if cameras:
        labels[2:] = np.array([0, 1, 2]), np.where(gallery_identity == 6, rng.integers(0, 2, size), 3)
    for levels in (3, 10**6):
        distances = rng.integers(0, levels, (3, size)).astype(kind)
        agree(evaluate_distances(distances, *labels), slow_metrics(distances, *labels, "standard", 50))


def test_junk_takes_no_part_but_is_checked():
    query, gallery, *labels = world(4)
    rng = np.random.default_rng(4)
    query, gallery = rng.normal(size=query.shape), rng.normal(size=gallery.shape)
    junk = labels[1] == -1
    gallery[junk] = query[: junk.sum() % len(query)][0]  # as close as can be
    clean = evaluate_retrieval(query, gallery[~junk], labels[0], labels[1][~junk], labels[2], labels[3][~junk])
    metrics = evaluate_retrieval(query, gallery, *labels)
    assert metrics.to_dict() == {**clean.to_dict(), "gallery_size": 160, "gallery_junk": junk.sum()}
    gallery[np.flatnonzero(junk)[1], 2] = np.nan
    with pytest.raises(ResightError, match=f"gallery row {np.flatnonzero(junk)[1]} holds NaN"):
        evaluate_retrieval(query, gallery, *labels)


def crowded(seed, width=8):
    """Features without ties but for exact duplicates, some of them in several identities, and their true distances."""
    _, _, *labels = world(seed)
    rng = np.random.default_rng(seed)
    query, few = rng.normal(size=(45, width)), rng.normal(size=(60, width))
    which = rng.integers(0, 60, 160)
    query, few = query.astype(np.float16), few.astype(np.float16)
    a, b = (x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (query, few))
    return query, few[which], (2 - 2 * a @ b.T)[:, which], labels


@pytest.mark.parametrize("ap", ["standard", "trapezoidal"])
@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize("rows", [1, 13, 160])
def test_a_gallery_too_large_to_hold(monkeypatch, tmp_path, rows, cameras, ap):
    query, gallery, distances, labels = crowded(rows)
    gallery.tofile(tmp_path / "gallery")
    gallery = np.memmap(tmp_path / "gallery", dtype=np.float16, mode="r", shape=gallery.shape)
    if not cameras:
        labels[2:] = [None, None]
    expected = slow_metrics(distances, *labels, ap, 50)
    held = evaluate_retrieval(query, gallery, *labels, ap=ap)
    agree(held, expected)
    monkeypatch.setattr("resight.evaluation.streaming.HELD_BYTES", 0)
    monkeypatch.setattr("resight.evaluation.streaming.STREAM_BYTES", rows * 4 * gallery.shape[1])
    reads = []
    read = Rows.read
    monkeypatch.setattr(Rows, "read", lambda self, which: reads.append(len(read(self, which))) or read(self, which))
    for block in (None, 7):
        assert evaluate_retrieval(query, gallery, *labels, ap=ap, block=block).to_dict() == held.to_dict()
    assert max(reads) <= max(rows, len(query)), "it is read in blocks"
    spoilt = np.array(gallery)
    spoilt[150, 3] = np.inf
    with pytest.raises(ResightError, match="gallery row 150 holds NaN or infinite"):
        evaluate_retrieval(query, spoilt, *labels)


def test_a_streamed_gallery_of_equal_rows(monkeypatch):
    _, _, *labels = world(9)
    monkeypatch.setattr("resight.evaluation.streaming.HELD_BYTES", 0)
    monkeypatch.setattr("resight.evaluation.streaming.STREAM_BYTES", 4 * 48 * 50)
    rng = np.random.default_rng(0)
    metrics = evaluate_retrieval(rng.normal(size=(45, 48)), np.tile(rng.normal(size=48), (160, 1)), *labels)
    agree(metrics, slow_metrics(np.ones((45, 160)), *labels, "standard", 50))


@pytest.mark.parametrize("held", [True, False])
def test_products_by_torch(monkeypatch, held):
    import torch

    query, gallery, distances, labels = crowded(21)
    expected = slow_metrics(distances, *labels, "standard", 50)
    asked = []

    def by_torch(columns, device):
        asked.append(device)
        return room.torch_product(columns, "cpu")

    monkeypatch.setattr(room, "product", by_torch)
    if not held:
        monkeypatch.setattr("resight.evaluation.streaming.HELD_BYTES", 0)
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        agree(evaluate_retrieval(query, gallery, *labels, device="cuda:1"), expected)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(precision)
    assert asked == ["cuda:1"]
    evaluate_retrieval(query, gallery, *labels, device="cpu", rerank=RerankOptions(k1=5, k2=2))
    assert asked == ["cuda:1", "cpu"]


def test_hashes_part_all_but_equal_rows():
    """Rows of few different numbers whose bits end in zeros are the hard case of a sum of products."""
    signs = np.random.default_rng(0).integers(0, 2, (300_000, 64), dtype=np.int8) * 2 - 1
    _, mark = unit_rows(Rows(np.concatenate([signs, signs[:100]]).astype(np.float32)), "query")
    assert len(np.unique(mark)) == len(signs)
    np.testing.assert_array_equal(mark[:100], mark[-100:])


def test_tiny_example_by_hand():
    """Ranking without ignored crops: wrong, right, wrong, right, wrong.

    AP = (1/2 + 2/4) / 2; first right answer at rank 2, last of 2 at rank 4.
    By trapezia: ((0/1 + 1/2) / 2 + (1/3 + 2/4) / 2) / 2 = 1/3.
    """
    distances = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]])
    identity = np.array([7, 0, -1, 7, 5, 7, 6])
    camera = np.array([1, 2, 2, 2, 2, 3, 1])
    arguments = (distances, np.array([7]), identity, np.array([1]), camera)
    metrics = evaluate_distances(*arguments, max_rank=4)
    assert (metrics.mAP, metrics.mINP) == (0.5, 0.5)
    assert (metrics.rank1, metrics.rank5, metrics.rank10) == (0.0, 1.0, 1.0)
    np.testing.assert_array_equal(metrics.cmc, [0, 1, 1, 1])
    assert (metrics.num_queries, metrics.scored_queries, metrics.skipped_queries) == (1, 1, 0)
    assert (metrics.gallery_size, metrics.gallery_junk) == (7, 1)
    assert evaluate_distances(*arguments, ap="trapezoidal").mAP == pytest.approx(1 / 3, abs=1e-12)

    # Without cameras the crop of the query's own camera counts: right, wrong, right, wrong, right, wrong.
    free = evaluate_distances(*arguments[:3])
    assert free.mAP == pytest.approx((1 + 2 / 3 + 3 / 5) / 3, abs=1e-12)
    assert free.mINP == pytest.approx(3 / 5, abs=1e-12)
    assert free.rank1 == 1


def test_ties_keep_gallery_order():
    same = np.zeros((1, 4))
    assert evaluate_distances(same, np.array([2]), np.array([1, 2, 1, 1])).mAP == 0.5
    assert evaluate_distances(same, np.array([2]), np.array([2, 1, 1, 1])).mAP == 1
    # An ignored crop in front of a tied right answer takes no rank.
    assert evaluate_distances(same, np.array([2]), np.array([-1, 2, 1, 1])).mAP == 1


def test_everything_tied_takes_the_same_ranks():
    _, _, *labels = world(9)
    distances = np.ones((45, 160), dtype=np.float32)
    agree(evaluate_distances(distances, *labels), slow_metrics(distances, *labels, "standard", 50))


def test_perfect_ranking():
    eye = np.eye(6)
    labels = np.arange(1, 7)
    for ap in ("standard", "trapezoidal"):
        metrics = evaluate_retrieval(eye, eye, labels, labels, np.zeros(6, int), np.ones(6, int), ap=ap)
        assert (metrics.mAP, metrics.mINP, metrics.rank1) == (1, 1, 1)
        assert metrics.cmc.shape == (50,)
        assert (metrics.cmc == 1).all()


def test_reranked_evaluation():
    rng = np.random.default_rng(3)
    _, _, *labels = world(3)
    query, gallery = rng.normal(size=(45, 6)), rng.normal(size=(160, 6))
    options = RerankOptions(k1=8, k2=3, lam=0.2)
    metrics = evaluate_retrieval(query, gallery, *labels, rerank=options)
    agree(metrics, slow_metrics(rerank_distances(query, gallery, 8, 3, 0.2), *labels, "standard", 50))
    assert metrics.rerank == {"k1": 8, "k2": 3, "lam": 0.2}


def test_to_dict_is_plain_json():
    _, _, *labels = world(2)
    metrics = evaluate_retrieval(*world(2)[:2], *labels, max_rank=3, rerank=RerankOptions())
    plain = json.loads(json.dumps(metrics.to_dict()))
    assert plain["mAP"] == metrics.mAP
    assert plain["cmc"] == metrics.cmc.tolist()
    assert len(plain["cmc"]) == 3
    assert plain["rerank"] == {"k1": 20, "k2": 6, "lam": 0.3}
    assert set(plain) == set(metrics.__dataclass_fields__) - {"queries"}


def test_unit_features_leaves_its_input_alone():
    features = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    unit = unit_features(features, "query")
    assert features[1, 2] == 6
    assert unit.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)


def arguments(**changes):
    given = {
        "query_features": np.eye(3),
        "gallery_features": np.eye(3),
        "query_identity": np.array([1, 2, 3]),
        "gallery_identity": np.array([1, 2, 0]),
    }
    return {**given, **changes}


def with_value(row, value):
    features = np.eye(3)
    features[row] = value
    return features


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"query_features": with_value(1, np.nan)}, "query row 1 holds NaN"),
        ({"gallery_features": with_value(2, np.inf)}, "gallery row 2 holds NaN or infinite"),
        ({"gallery_features": with_value(0, 0)}, "gallery row 0 is all zeros"),
        ({"gallery_features": np.eye(4)[:3]}, "same encoder"),
        ({"query_features": np.ones(3)}, r"query features have shape \(3,\)"),
        ({"query_features": np.eye(3).astype(str)}, "real numbers"),
        ({"query_features": np.ones((0, 3)), "query_identity": np.ones(0, int)}, "no query crop"),
        ({"gallery_features": np.ones((0, 3)), "gallery_identity": np.ones(0, int)}, "no gallery crop"),
        ({"query_identity": np.array([1, 2])}, "query identities have shape"),
        ({"gallery_identity": np.array([1.0, 2, 3])}, "must be one integer per crop"),
        ({"query_camera": np.array([1, 2, 3])}, "gallery cameras are missing"),
        ({"gallery_camera": np.array([1, 2, 3])}, "query cameras are missing"),
        ({"query_camera": np.array([1]), "gallery_camera": np.array([1, 2, 3])}, "query cameras have shape"),
        ({"query_identity": np.array([1, 0, 3])}, r"Query row 1 has identity 0 \(1 such"),
        ({"query_identity": np.array([1, 2, -1])}, "numbered from 1"),
        ({"gallery_identity": np.array([1, 2, np.iinfo(np.int64).min])}, "Gallery row 2 .* no label"),
        ({"gallery_identity": np.array([4, 4, 0])}, "None of the 3 queries"),
        (
            {"query_camera": np.array([1, 1, 1]), "gallery_camera": np.array([1, 1, 1])},
            "None of the 3 queries .* from another camera",
        ),
        ({"ap": "area"}, "standard or trapezoidal"),
        ({"max_rank": 0}, "max_rank, .* must be at least 1, got 0"),
        ({"block": 0}, "block, .* must be at least 1, got 0"),
        ({"device": "nowhere"}, "There is no device 'nowhere'"),
        ({"device": "nowhere", "rerank": RerankOptions()}, "There is no device 'nowhere'"),
        ({"query_features": np.eye(3) * 1e-200}, "query row 0 has values too large or too small"),
    ],
)
def test_errors_are_sentences(changes, sentence):
    with pytest.raises(ResightError, match=sentence):
        evaluate_retrieval(**arguments(**changes))


def test_distances_must_be_finite_and_two_dimensional():
    labels = np.array([1, 2, 3])
    bad = np.ones((3, 3))
    bad[2, 1] = np.inf
    with pytest.raises(ResightError, match="query 2 and gallery crop 1 is inf"):
        evaluate_distances(bad, labels, labels, block=2)
    with pytest.raises(ResightError, match=r"shape \(3,\)"):
        evaluate_distances(np.ones(3), labels, labels)
    with pytest.raises(ResightError, match="real numbers"):
        evaluate_distances(np.ones((3, 3), dtype=complex), labels, labels)

"""Intervals of differences, against a slow loop."""

import numpy as np
import pytest

from resight.errors import ResightError
from resight.evaluation import evaluate_retrieval, paired_bootstrap
from resight.evaluation.bootstrap import _BLOCK


def slow(baseline, other, draws, level, seed):
    """One draw at a time, each query looked up by itself."""
    rng = np.random.default_rng(seed)
    differences = []
    for _ in range(draws):
        drawn = rng.integers(len(baseline), size=len(baseline))
        first = sum(baseline[query] for query in drawn) / len(drawn)
        second = sum(other[query] for query in drawn) / len(drawn)
        differences.append(second - first)
    ordered = sorted(differences)

    def percentile(share):
        place = share * (draws - 1)
        low = int(place)
        high = min(low + 1, draws - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return percentile((1 - level) / 2), percentile((1 + level) / 2)


@pytest.mark.parametrize("level", [0.95, 0.5])
def test_against_a_loop(level):
    rng = np.random.default_rng(0)
    baseline, others = rng.random(37), rng.random((3, 37))
    found = paired_bootstrap(baseline, others, draws=300, level=level, seed=7)
    for one, other in zip(found, others, strict=True):
        assert one.difference == pytest.approx(other.mean() - baseline.mean(), abs=1e-12)
        assert (one.low, one.high) == pytest.approx(slow(baseline, other, 300, level, 7), abs=1e-12)


def test_draws_are_the_same_in_blocks_and_for_each_model_alone(monkeypatch):
    rng = np.random.default_rng(1)
    baseline, others = rng.random(50), rng.random((2, 50))
    whole = paired_bootstrap(baseline, others, draws=500)
    monkeypatch.setattr("resight.evaluation.bootstrap._BLOCK", 50 * 7)
    assert paired_bootstrap(baseline, others, draws=500) == whole
    alone = [paired_bootstrap(baseline, others[row : row + 1], draws=500)[0] for row in range(2)]
    assert [one.low for one in alone] == pytest.approx([one.low for one in whole], abs=1e-12)
    assert _BLOCK > 50 * 7


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(2)
    hard = rng.random(400)
    better = (hard + 0.02 + 0.01 * rng.normal(size=400))[None]
    (paired,) = paired_bootstrap(hard, better, draws=2000)
    assert 0.015 < paired.low < paired.difference < paired.high < 0.025
    assert paired.above == 1
    (same,) = paired_bootstrap(hard, hard[None], draws=100)
    assert (same.difference, same.low, same.high, same.above) == (0, 0, 0, 0.5)


@pytest.mark.parametrize(
    ("baseline", "others"),
    [([], [[]]), ([1.0], [1.0]), ([1.0, 2.0], [[1.0]]), ([np.nan], [[1.0]]), ([1.0], [[np.inf]]), (["a"], [["b"]])],
)
def test_what_cannot_be_compared(baseline, others):
    with pytest.raises(ResightError):
        paired_bootstrap(baseline, others)


def test_figures_of_queries_have_the_means_of_the_metrics():
    rng = np.random.default_rng(3)
    identity, gallery = rng.integers(1, 9, 40), rng.integers(1, 7, 90)  # identities 7 and 8 have no right answer
    cameras = rng.integers(0, 3, 40), rng.integers(0, 3, 90)
    found = evaluate_retrieval(rng.normal(size=(40, 5)), rng.normal(size=(90, 5)), identity, gallery, *cameras, block=7)
    queries = found.queries
    assert queries is not None
    scored = [
        query
        for query in range(40)
        if np.any((gallery == identity[query]) & (cameras[1] != cameras[0][query]))
    ]  # fmt: skip
    assert queries.query.tolist() == scored
    assert len(scored) == found.scored_queries < 40
    assert queries.average_precision.mean() == found.mAP
    assert np.mean(queries.first_rank == 1) == found.rank1
    assert "queries" not in found.to_dict()

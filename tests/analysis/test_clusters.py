"""Confidence and distances, against slow loops."""

import numpy as np
import pytest

from resight.analysis import confidence, distance_order
from resight.errors import ResightError


def unit(vector):
    return vector / np.linalg.norm(vector)


def test_confidence_against_a_loop():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(50, 6)), rng.integers(-1, 5, 50)
    labels[7] = 8  # alone in its cluster
    rows = [unit(row) for row in features]
    found = confidence(features, labels)
    for row in range(50):
        own = [other for other in range(50) if labels[other] == labels[row] and other != row]
        if labels[row] < 0 or not own:
            assert np.isnan(found[row])
            continue
        mine = unit(sum(rows[other] for other in own)) @ rows[row]
        others = [
            unit(sum(rows[other] for other in range(50) if labels[other] == one)) @ rows[row]
            for one in set(labels) - {-1, labels[row]}
        ]
        assert found[row] == pytest.approx(mine - max(others), abs=1e-6)


def test_confidence_of_outliers_and_of_one_cluster():
    features = np.random.default_rng(1).normal(size=(4, 3))
    assert np.isnan(confidence(features, np.full(4, -1))).all()
    assert np.isfinite(confidence(features, np.zeros(4, int))).all()
    with pytest.raises(ResightError):
        confidence(features, np.zeros(3, int))


def test_distances_are_sorted():
    features = np.random.default_rng(2).normal(size=(9, 4)) + 2
    order, distance = distance_order(features)
    rows = np.stack([unit(row) for row in features])
    centre = unit(rows.mean(axis=0))
    assert sorted(order.tolist()) == list(range(9))
    assert np.allclose(distance, np.sort(1 - rows @ centre))
    assert np.allclose(distance, (1 - rows @ centre)[order])

"""t-SNE: groups stay together, and the same call gives the same places."""

import numpy as np
import pytest

from resight.analysis import plane
from resight.errors import ResightError


def test_groups_stay_together():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 8)) * 4
    group = np.arange(60) % 3
    features = centres[group] + rng.normal(size=(60, 8)) * 0.3
    places = plane(features, perplexity=10)
    assert places.shape == (60, 2)
    assert np.array_equal(places, plane(features, perplexity=10))
    distance = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(60) * 1e9
    assert (group[distance.argmin(axis=1)] == group).all()


@pytest.mark.parametrize("features", [np.ones((3, 4)), np.full((9, 2), np.nan), [["a"]]])
def test_what_cannot_be_laid_out(features):
    with pytest.raises(ResightError):
        plane(features)


def test_few_crops_lower_the_perplexity():
    assert plane(np.random.default_rng(1).normal(size=(4, 3)), perplexity=500).shape == (4, 2)

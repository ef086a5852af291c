from __future__ import annotations

import numpy as np
import pytest

from resight.clustering import pseudo_cameras
from resight.errors import ResightError


def test_groups_are_those_of_standardised_statistics() -> None:
    """A figure in small units decides as much as one in large units: without standardising it would be lost."""
    rng = np.random.default_rng(0)
    camera = np.repeat([0, 1, 2], 40)
    small = 1e-3 * (camera[:, None] == [0, 1]) + rng.normal(0, 2e-5, (120, 2))
    large = rng.normal(0, 1000, (120, 1))
    found = pseudo_cameras(np.hstack([small, small, small, large]), 3)
    assert found.dtype == np.int64
    assert {len(np.unique(found[camera == number])) for number in range(3)} == {1}
    assert len(np.unique(found)) == 3
    assert (found == pseudo_cameras(np.hstack([small, small, small, large]), 3)).all()


def test_a_figure_that_never_changes_does_no_harm() -> None:
    values = np.c_[np.repeat([0.0, 1.0], 5), np.full(10, 7.0)]
    assert len(np.unique(pseudo_cameras(values, 2))) == 2


@pytest.mark.parametrize(
    ("values", "groups", "said"),
    [
        (np.ones((3, 2)), 4, "groups need at least as many crops, and there are 3"),
        (np.ones(3), 2, "a matrix of numbers"),
        (np.full((3, 2), np.nan), 2, "a matrix of numbers"),
        (np.ones((3, 2)), 1, "pseudo_cameras"),
    ],
)
def test_what_cannot_be_grouped_is_a_sentence(values: np.ndarray, groups: int, said: str) -> None:
    with pytest.raises(ResightError, match=said):
        pseudo_cameras(values, groups)

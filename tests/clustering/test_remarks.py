"""What is odd about clusters is said, with a setting that mends it; what is usual is not."""

from __future__ import annotations

import numpy as np
import pytest

from resight.clustering.remarks import odd_clusters, remedy
from resight.identities import ALGORITHMS


def kinds(labels: np.ndarray, camera: np.ndarray | None = None) -> list[str]:
    return [remark.kind for remark in odd_clusters(labels, camera)]


def clusters(*sizes: int, outliers: int = 0) -> np.ndarray:
    return np.r_[np.repeat(np.arange(len(sizes)), sizes), np.full(outliers, -1)]


def test_the_example_of_the_first_try_is_remarked_on() -> None:
    (remark,) = odd_clusters(clusters(*[4] * 8, 8, outliers=560))
    assert remark.kind == "outliers"
    assert remark.text == "560 of 600 crops are in no cluster, so only the other 40 count."


def test_each_kind_and_its_neighbour() -> None:
    assert kinds(clusters(*[10] * 10, outliers=399)) == []
    assert kinds(clusters(*[10] * 10, outliers=400)) == ["outliers"]
    assert kinds(clusters(50, *[5] * 10)) == []
    assert kinds(clusters(51, *[5] * 10)) == ["giant"]
    assert kinds(clusters(*[3] * 20)) == []
    assert kinds(clusters(*[2] * 30)) == ["tiny"]
    assert kinds(clusters(5)) == []  # too few crops to judge


def test_clusters_of_one_camera() -> None:
    labels = clusters(*[10] * 10)
    own = labels % 3
    assert kinds(labels, own) == ["cameras"]
    mixed = np.where(np.isin(labels, (0, 1)), np.arange(100) % 3, own)
    assert kinds(labels, mixed) == []
    assert kinds(labels, np.zeros(100, int)) == []  # there is only one
    assert "10 of 10 clusters are of a single camera" in odd_clusters(labels, own)[0].text


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", ["outliers", "giant", "tiny", "cameras"])
def test_a_remedy_is_a_setting_that_the_algorithm_takes(algorithm: str, kind: str) -> None:
    settings = ALGORITHMS[algorithm]().model_dump()
    found = remedy(kind, algorithm, settings)  # type: ignore[arg-type]
    if (algorithm, kind) == ("bottom_up", "outliers"):  # it has none
        assert found is None
        return
    assert found is not None
    name, value = found
    assert getattr(ALGORITHMS[algorithm](**{name: value}), name) == value != settings[name]


def test_the_direction_is_right() -> None:
    settings = ALGORITHMS["dbscan"]().model_dump() | {"eps": 0.5}
    assert remedy("outliers", "dbscan", settings) == ("eps", 0.6)
    assert remedy("giant", "dbscan", settings) == ("eps", 0.4)
    assert remedy("tiny", "dbscan", settings) == ("eps", 0.6)
    assert remedy("outliers", "dbscan", settings | {"eps": 0.8}) == ("min_samples", 2)
    assert remedy("outliers", "dbscan", settings | {"eps": 0.8, "min_samples": 2}) is None
    assert remedy("cameras", "dbscan", settings | {"centre_cameras": True}) is None
    assert remedy("giant", "two_stage", {"clusters": 20, "crops_per_cluster": 13}) == ("clusters", 40)
    assert remedy("tiny", "two_stage", {"clusters": 300, "crops_per_cluster": 13}) == ("clusters", 150)

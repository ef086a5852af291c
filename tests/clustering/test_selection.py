"""The choice of k1 and eps without labels."""

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import adjusted_rand_score, mutual_info_score, normalized_mutual_info_score

from resight.clustering import (
    best_setting,
    cluster_crops,
    dbscan,
    examine_settings,
    jaccard_distance,
    label_agreement,
    nearest_neighbours,
)
from resight.clustering.selection import Examined
from resight.errors import ResightError


@pytest.fixture(scope="module")
def crops():
    rng = np.random.default_rng(3)
    identity, camera = np.repeat(np.arange(30), 12), np.arange(360) % 3
    features = rng.normal(size=(30, 24))[identity] + 0.85 * rng.normal(size=(360, 24))
    return features, identity, camera


@pytest.fixture(scope="module")
def examined(crops):
    features, _, camera = crops
    return examine_settings(nearest_neighbours(features, 40), k1=(6, 12, 40), eps=(0.3, 0.5, 0.7, 0.9), camera=camera)


def test_every_figure_is_that_of_a_slow_reference(crops, examined):
    features, _, camera = crops
    partitions = {}
    for setting in examined:
        graph = jaccard_distance(features, setting.k1, min(6, setting.k1))
        partitions[setting.k1, setting.eps] = dbscan(graph, setting.eps, 4)
    for setting in examined:
        labels = partitions[setting.k1, setting.eps]
        inside = labels >= 0
        assert setting.clusters == labels.max() + 1
        assert setting.clustered == pytest.approx(inside.mean())
        assert setting.largest == pytest.approx(np.bincount(labels[inside], minlength=1).max() / 360)
        others = [label_agreement(labels, other) for other in partitions.values()]
        assert setting.consensus == pytest.approx(np.mean(others))
        if setting.clusters:
            spans = [len(np.unique(camera[labels == number])) > 1 for number in range(setting.clusters)]
            assert setting.spanning == pytest.approx(np.mean(spans))
            information = normalized_mutual_info_score(camera[inside], labels[inside])
            assert setting.camera_information == pytest.approx(information, abs=1e-9)
            explained = mutual_info_score(camera[inside], labels[inside]) / entropy(np.bincount(camera[inside]))
            assert setting.camera_explained == pytest.approx(explained, abs=1e-9)
            score = setting.consensus * setting.clustered * np.sqrt(1 - explained)
            assert setting.score == pytest.approx(score, abs=1e-9)
    ends = [label_agreement(partitions[6, 0.3], partitions[6, 0.5])]
    assert examined[0].stability == pytest.approx(np.mean(ends))


def test_the_choice_is_near_the_best_in_hindsight(crops, examined):
    features, identity, _ = crops
    best = best_setting(examined)

    def score(setting):
        graph = jaccard_distance(features, setting.k1, min(6, setting.k1))
        return label_agreement(dbscan(graph, setting.eps, 4), identity)

    assert score(best) > max(map(score, examined)) - 0.1


def test_auto_in_cluster_crops(crops):
    features, identity, _ = crops
    found = cluster_crops(features, k1="auto", eps="auto")
    fixed = cluster_crops(features, k1=found.facts["k1"], eps=found.facts["eps"])
    assert np.array_equal(found.labels, fixed.labels)
    assert found.sentences[0].startswith("Chosen without labels among 55 settings: k1 ")
    assert fixed.sentences == ()
    assert "k1" not in fixed.facts
    assert adjusted_rand_score(identity, found.labels) > 0.5
    assert cluster_crops(features, k1=12, eps="auto").facts["k1"] == 12
    assert cluster_crops(features, k1="auto", eps=0.5).facts["eps"] == 0.5


def test_giants_are_chosen_only_where_there_is_nothing_else():
    giant = Examined(80, 0.8, 1, 1.0, 1.0, 1.0, 0.9)
    fine = Examined(20, 0.5, 30, 0.8, 0.05, 0.7, 0.5)
    none = Examined(20, 0.1, 0, 0.0, 0.0, 1.0, 0.95)
    assert best_setting([giant, fine, none]) is fine
    assert best_setting([giant, none]) is giant
    assert best_setting([none]) is None


def test_bad_input_is_a_sentence(crops):
    features, _, camera = crops
    neighbours = nearest_neighbours(features, 10)
    with pytest.raises(ResightError, match="nothing to choose from"):
        examine_settings(neighbours, k1=())
    with pytest.raises(ResightError, match="below 1"):
        examine_settings(neighbours, k1=(10,), eps=(1.0,))
    with pytest.raises(ResightError, match="one camera per crop"):
        examine_settings(neighbours, k1=(10,), camera=camera[:5])
    with pytest.raises(ResightError, match="k1"):
        cluster_crops(features, k1="automatic")
    with pytest.raises(ResightError, match="eps"):
        cluster_crops(features, eps="automatic")

"""Clusters of one camera that are left out."""

import numpy as np
import pytest

from resight.clustering import PseudoLabels, leave_out_one_camera
from resight.clustering.config import TrainingClusteringConfig
from resight.errors import ResightError


def slow(labels, camera, share, least):
    clusters = sorted({label for label in labels if label >= 0})
    members = {cluster: [i for i, label in enumerate(labels) if label == cluster] for cluster in clusters}
    alone = [cluster for cluster in clusters if len({camera[i] for i in members[cluster]}) == 1]
    alone.sort(key=lambda cluster: (len(members[cluster]), cluster))
    clustered = sum(len(rows) for rows in members.values())
    out, gone = set(), 0
    for cluster in alone[: int(share * len(alone))]:
        if len(set(camera)) == 1 or clustered - gone - len(members[cluster]) < least * clustered:
            break
        out.add(cluster)
        gone += len(members[cluster])
    left = [cluster for cluster in clusters if cluster not in out]
    return [left.index(label) if label in left else -1 for label in labels], len(out), gone


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("least", [0.2, 0.75, 1.0])
def test_against_loops(share, least):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = rng.integers(-1, 25, 80)
        camera = np.where(rng.random(80) < 0.6, labels % 3, rng.integers(0, 3, 80)) * (seed > 0)
        found = leave_out_one_camera(labels, camera, share=share, least=least)
        expected, clusters, crops = slow(labels.tolist(), camera.tolist(), share, least)
        assert found.labels.tolist() == expected
        assert (found.clusters, found.crops) == (clusters, crops)
        PseudoLabels(found.labels)  # without gaps


def test_some_crops_stay_and_the_share_grows():
    found = leave_out_one_camera(np.arange(40) // 4, np.arange(40) // 20)
    assert (found.clusters, found.crops) == (5, 20)
    ramp = TrainingClusteringConfig(one_camera="leave_out", one_camera_ramp=4)
    assert [ramp.one_camera_share(epoch) for epoch in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert TrainingClusteringConfig(one_camera="leave_out").one_camera_share(0) == 1
    assert TrainingClusteringConfig(one_camera_ramp=4).one_camera_share(9) == 0


def test_bad_input_is_a_sentence():
    with pytest.raises(ResightError, match="one camera per crop"):
        leave_out_one_camera([0, 0, 1], [1, 2])
    with pytest.raises(ResightError, match="least must be"):
        leave_out_one_camera([0, 0, 1], [1, 2, 3], least=0)
    with pytest.raises(ResightError, match="not -2"):
        leave_out_one_camera([0, -2, 1], [1, 2, 3])

"""Mixture and confusion of cameras, against slow loops."""

import itertools

import numpy as np
import pytest

from resight.analysis import camera_confusion, camera_mixture
from resight.errors import ResightError


def slow_mixture(labels, camera):
    def differ(rows):
        pairs = list(itertools.permutations(rows, 2))
        return sum(camera[one] != camera[other] for one, other in pairs) / len(pairs)

    clusters = [[row for row in range(len(labels)) if labels[row] == one] for one in sorted(set(labels) - {-1})]
    cameras = [len({camera[row] for row in rows}) for rows in clusters]
    everyone = [row for row in range(len(labels)) if labels[row] >= 0]
    several = [differ(rows) for rows in clusters if len(rows) > 1]
    return {
        "one_camera": sum(count == 1 for count in cameras) / len(clusters),
        "cameras": sum(cameras) / len(clusters),
        "mixture": sum(several) / len(several) / differ(everyone),
    }


def test_mixture_against_a_loop():
    rng = np.random.default_rng(0)
    labels, camera = rng.integers(-1, 6, 60), rng.integers(3, 7, 60)
    labels[0] = 9  # a cluster with one crop, and numbers with gaps
    assert camera_mixture(labels, camera) == pytest.approx(slow_mixture(labels.tolist(), camera.tolist()))


def test_mixture_of_nothing_and_of_single_cameras():
    assert camera_mixture(np.full(4, -1), np.arange(4)) == {"one_camera": 0, "cameras": 0, "mixture": 0}
    assert camera_mixture(np.array([0, 0, 1, 1]), np.array([1, 1, 2, 2]))["mixture"] == 0
    assert camera_mixture(np.array([0, 0]), np.array([1, 1])) == {"one_camera": 1, "cameras": 1, "mixture": 0}
    with pytest.raises(ResightError):
        camera_mixture(np.array([0, -2]), np.array([1, 1]))
    with pytest.raises(ResightError):
        camera_mixture(np.array([0, 1]), np.array([1]))


def test_confusion_against_a_loop():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(80, 5))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    camera, identity = rng.integers(1, 4, 80), rng.integers(-1, 9, 80)
    for known in (identity, None):
        found = camera_confusion(features, camera, known)
        share, right, chance = np.zeros((3, 3)), np.zeros((3, 3)), np.zeros((3, 3))
        for row in range(80):
            if known is not None and known[row] <= 0:
                continue
            others = [
                other
                for other in range(80)
                if other != row
                and not (known is not None and known[other] == known[row] and camera[other] == camera[row])
            ]
            nearest = max(others, key=lambda other: unit[row] @ unit[other])
            share[camera[row] - 1, camera[nearest] - 1] += 1
            right[camera[row] - 1, camera[nearest] - 1] += known is not None and known[row] == known[nearest]
            for other in others:
                chance[camera[row] - 1, camera[other] - 1] += 1 / len(others)
        total = share.sum(axis=1, keepdims=True)
        assert np.allclose(found.share, share / total)
        assert np.allclose(found.expected, chance / total)
        if known is None:
            assert np.isnan(found.right).all()
        else:
            assert np.allclose(found.right[share > 0], (right / np.maximum(share, 1))[share > 0])


def test_confusion_asks_for_some_crops_only():
    rng = np.random.default_rng(2)
    found = camera_confusion(rng.normal(size=(100, 4)), np.arange(100) % 2, most=10)
    assert np.allclose(found.share.sum(axis=1), 1)
    with pytest.raises(ResightError, match="two crops"):
        camera_confusion(np.ones((1, 3)), np.zeros(1, int))

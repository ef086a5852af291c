"""Tracks: what they say of crops, and clusters that agree with them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from resight.clustering.tracks import Tracks, respect_tracks, track_conflicts
from resight.errors import ResightError


def some(seed: int, crops: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, tracks, cameras and times: 8 identities, each in tracks of a few crops in 3 cameras."""
    rng = np.random.default_rng(seed)
    track = rng.integers(-1, 12, crops)
    camera = rng.integers(0, 3, crops)
    time = 4.0 * track + rng.uniform(0, 8, crops)
    return rng.normal(size=(crops, 6)).astype(np.float32), track, camera, time


def slow_overlaps(tracks: Tracks, group: np.ndarray, camera: np.ndarray, time: np.ndarray) -> set[tuple[int, int]]:
    pairs = set()
    for a in range(len(tracks)):
        for b in range(a):
            one, other = tracks.of_crop == a, tracks.of_crop == b
            if camera[one][0] != camera[other][0] or group[a] < 0 or group[a] != group[b]:
                continue
            if time[one].min() <= time[other].max() and time[other].min() <= time[one].max():
                pairs.add((b, a))
    return pairs


def test_a_track_is_a_number_in_a_camera_and_a_crop_of_no_track_is_alone() -> None:
    _, track, camera, time = some(0)
    tracks = Tracks.of(track, camera, time)
    for i in range(len(track)):
        for j in range(len(track)):
            same = i == j or (track[i] >= 0 and (track[i], camera[i]) == (track[j], camera[j]))
            assert (tracks.of_crop[i] == tracks.of_crop[j]) == same
    for number in range(len(tracks)):
        own = tracks.of_crop == number
        assert tracks.camera is not None
        assert tracks.first is not None
        assert tracks.last is not None
        assert {tracks.camera[number]} == set(camera[own])
        assert (tracks.first[number], tracks.last[number]) == (time[own].min(), time[own].max())
    assert len(Tracks.of(np.array([3, 3, -1, -1]))) == 3


def test_means_are_those_of_unit_features() -> None:
    features, track, camera, _ = some(1)
    tracks = Tracks.of(track, camera)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for number, found in enumerate(tracks.means(features)):
        mean = unit[tracks.of_crop == number].mean(axis=0)
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-5)


def test_overlapping_tracks_are_those_of_all_pairs() -> None:
    _, track, camera, time = some(2)
    tracks = Tracks.of(track, camera, time)
    group = np.random.default_rng(3).integers(-1, 3, len(tracks))
    found = {(min(pair), max(pair)) for pair in tracks.overlapping(group).tolist()}
    assert found == slow_overlaps(tracks, group, camera, time)
    assert found
    assert not len(Tracks.of(track, camera).overlapping(group))  # no times
    assert not len(Tracks.of(track, None, time).overlapping(group))  # perhaps several cameras


@pytest.mark.parametrize("seed", range(4))
def test_tracks_go_to_most_of_their_crops_and_overlapping_ones_apart(seed: int) -> None:
    features, track, camera, time = some(seed)
    tracks = Tracks.of(track, camera, time)
    labels = np.random.default_rng(seed).integers(-1, 5, len(track))
    found = respect_tracks(labels, features, tracks)
    label_of = {}
    for number in range(len(tracks)):
        own = tracks.of_crop == number
        assert len(set(found[own])) == 1
        label_of[number] = found[own][0]
        votes = Counter(labels[own & (labels >= 0)].tolist())
        assert (label_of[number] < 0) == (not votes)
    group = np.array([label_of[number] for number in range(len(tracks))])
    assert not slow_overlaps(tracks, group, camera, time)
    assert set(found[found >= 0]) == set(range(found.max() + 1))


def test_without_overlaps_a_track_follows_its_majority_and_clusters_are_not_joined() -> None:
    track = np.array([0, 0, 0, 1, 1, 2, 2, -1, -1])
    labels = np.array([1, 1, 0, 0, 1, -1, -1, -1, 0])
    found = respect_tracks(labels, np.eye(9, dtype=np.float32), Tracks.of(track))
    assert found.tolist() == [0, 0, 0, 1, 1, -1, -1, -1, 1]


def test_a_missing_time_says_nothing() -> None:
    tracks = Tracks.of([0, 0, 1, 1], [0, 0, 0, 0], [1.0, np.nan, 1.0, 2.0])
    assert not len(tracks.overlapping(np.zeros(2, np.int64)))


def test_other_numbers_of_crops_are_refused() -> None:
    tracks = Tracks.of([0, 0, 1])
    with pytest.raises(ResightError, match="3 crops"):
        respect_tracks([0, 0], np.eye(2), tracks)
    with pytest.raises(ResightError, match="3 crops"):
        tracks.means(np.eye(2))
    with pytest.raises(ResightError, match="one number each"):
        Tracks.of([0, 0, 1], None, [1.0])


def test_means_are_weighted() -> None:
    features, track, camera, _ = some(2)
    tracks = Tracks.of(track, camera)
    weight = np.random.default_rng(0).uniform(0, 1, len(track))
    weight[tracks.of_crop == 3] = 0  # all the same, then
    weight[tracks.of_crop == 4] *= 1e-40
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for number, found in enumerate(tracks.means(features, weight)):
        own = tracks.of_crop == number
        mean = (weight[own] if weight[own].any() else np.ones(own.sum())) @ unit[own].astype(np.float64)
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-5)
    for wrong in (weight[1:], -weight, np.full(len(track), np.nan), np.full(len(track), "a")):
        with pytest.raises(ResightError, match="weigh"):
            tracks.means(features, wrong)


def test_conflicts_are_counted_and_none_are_left() -> None:
    features, track, camera, time = some(3)
    tracks = Tracks.of(track, camera, time, time + 2)
    assert tracks.last is not None
    assert tracks.last[0] == time[tracks.of_crop == 0].max() + 2
    labels = np.random.default_rng(1).integers(-1, 5, len(track))
    divided = sum(len(set(labels[tracks.of_crop == number])) > 1 for number in range(len(tracks)))
    found = track_conflicts(labels, tracks)
    assert found["tracks_divided"] == divided > 0
    assert found["tracks_overlapping"] > 0
    after = respect_tracks(labels, features, tracks)
    assert track_conflicts(after, tracks) == {"tracks_divided": 0, "tracks_overlapping": 0}

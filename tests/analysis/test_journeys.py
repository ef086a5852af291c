"""Journeys, confident moves and times between cameras, against slow loops."""

from __future__ import annotations

import numpy as np
import pytest

from resight import ResightError
from resight.analysis import Journey, Move, journeys, moves, shortest_times, transitions, weigh_impossible
from resight.clustering import find_neighbours


def test_journeys_have_a_stay_per_camera_in_a_row() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, -1])
    camera = np.array([1, 2, 1, 1, 3, 3, 5])
    time = np.array([10.0, 20.0, 12.0, 30.0, 5.0, 1.0, 0.0])
    first, second = journeys(labels, camera, time)
    assert (first.cluster, first.rows.tolist()) == (0, [0, 2, 1, 3])
    assert first.stays == ((1, 10.0, 12.0, 2), (2, 20.0, 20.0, 1), (1, 30.0, 30.0, 1))
    assert [rows.tolist() for rows in first.crops] == [[0, 2], [1], [3]]
    assert (second.cluster, second.stays) == (1, ((3, 1.0, 5.0, 2),))
    assert len(journeys(labels, camera, time, most=1)) == 1
    with pytest.raises(ResightError, match="one number per label"):
        journeys(labels, camera, time[:3])
    until = time + np.array([0, 0, 9.0, 0, 0, 3, 0])
    assert journeys(labels, camera, time, until=until)[0].stays[0] == (1, 10.0, 21.0, 2)
    assert journeys(labels, camera, time, gap=2)[1].stays == ((3, 1.0, 1.0, 1), (3, 5.0, 5.0, 1))
    assert journeys(labels, camera, time, until=until, gap=2)[1].stays == ((3, 1.0, 5.0, 2),)


def some(seed: int, crops: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, cameras, times, features and weights."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 6, crops)
    features = rng.normal(size=(7, 5))[labels] + 0.7 * rng.normal(size=(crops, 5))
    return labels, rng.integers(1, 4, crops), rng.uniform(0, 400, crops).round(), features, rng.uniform(0, 1, crops)


def slow_sure(
    found: list[Journey], labels: np.ndarray, camera: np.ndarray, features: np.ndarray, weight: np.ndarray
) -> list[bool]:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    stays = []  # of (cluster, camera, mean), those of journeys first
    for way in found:
        stays += [(way.cluster, camera[rows[0]], weight[rows] @ unit[rows]) for rows in way.crops]
    count = len(stays)
    stays += [(-1, camera[row], unit[row]) for row in np.flatnonzero(labels < 0)]
    stays = [(cluster, where, mean / np.linalg.norm(mean)) for cluster, where, mean in stays]

    def nearest(stay: int, into: int) -> int:
        others = [other for other in stays if other[1] == into]
        return max(others, key=lambda other: float(other[2] @ stays[stay][2]))[0]

    expected = []
    for stay in range(count - 1):
        (cluster, where, _), (other, there, _) = stays[stay : stay + 2]
        if cluster == other and where != there:
            expected.append(nearest(stay, there) == cluster and nearest(stay + 1, where) == cluster)
    return expected


@pytest.mark.parametrize("seed", range(3))
def test_a_move_is_confident_where_each_side_is_nearest_to_the_other_identity(seed: int) -> None:
    labels, camera, time, features, weight = some(seed)
    found = journeys(labels, camera, time, most=None)
    ways = moves(found, features, camera, labels=labels, weight=weight)
    assert [way.sure for way in ways] == slow_sure(found, labels, camera, features, weight)
    assert len({way.sure for way in ways}) == 2
    assert {way.sure for way in moves(found)} == {None}
    for one in transitions(ways):
        own = [way for way in ways if (way.start, way.end) == (one.start, one.end)]
        times = [way.arrived - way.left for way in own if way.sure]
        assert (one.count, one.moves) == (len(times), len(own))
        np.testing.assert_allclose((one.lower, one.median, one.upper), np.percentile(times, (25, 50, 75)))
    with pytest.raises(ResightError):
        moves(found, features, camera[:5], labels=labels)


def test_the_shortest_time_is_below_confident_ones() -> None:
    times = np.exp(np.random.default_rng(0).normal(4, 0.3, 40))
    ways = [Move(0, *((1, 2) if n % 2 else (2, 1)), 0.0, float(t), True) for n, t in enumerate(times)]
    ways += [Move(0, 1, 2, 0.0, 0.5, False)] * 30  # wrong matches, known to be unsure
    ways += [Move(0, 1, 3, 0.0, 5.0, True)] * 9  # too few
    ways += [Move(0, 2, 3, 0.0, float(t), True) for t in range(-6, 6)]  # both cameras see the same place
    lower, upper = np.quantile(np.log(times), (0.25, 0.75))
    found = shortest_times(ways)
    assert found == {(1, 2): pytest.approx(np.exp(lower - 1.5 * (upper - lower)))}
    assert 10 < found[1, 2] < times.min() * 1.2
    assert (1, 3) in shortest_times(ways, enough=9)


def test_impossible_neighbours_move_back() -> None:
    _, camera, time, features, _ = some(4)
    shortest = {(1, 2): 80.0, (2, 3): 30.0}
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    near, weighed = weigh_impossible(find_neighbours(features, len(features)), camera, time, shortest, 0.5, 7)
    cosines = unit @ unit.T
    count = 0
    for a in range(len(features)):
        for b in range(len(features)):
            limit = shortest.get((min(camera[a], camera[b]), max(camera[a], camera[b])), 0.0)
            if abs(time[a] - time[b]) < limit:
                count += 1
                cosines[a, b] *= 0.5 if cosines[a, b] > 0 else 1
        order = np.argsort(-cosines[a], kind="stable")[:7]
        assert near.indices[a].tolist() == order.tolist()
        np.testing.assert_allclose(near.distances[a], 2 - 2 * cosines[a, order], atol=1e-5)
    assert weighed == count > 0
    plain = find_neighbours(features, 7)
    same, none = weigh_impossible(plain, camera, time, {}, 0.5, 7)
    assert none == 0
    assert (same.indices == plain.indices).all()
    with pytest.raises(ResightError, match="The weight"):
        weigh_impossible(plain, camera, time, {}, 2, 7)

"""Where and when clusters were seen: journeys from camera to camera, and how long the ways take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resight.clustering import Neighbours, Tracks, unit_rows
from resight.common.checks import as_array, instance, integers, number, whole
from resight.errors import ResightError

#: Camera, first and last time, and number of crops.
Stay = tuple[int, float, float, int]
#: Seconds after which a stay in a camera is over where times are seconds, unless another number is asked for.
STAY = 30.0
#: Confident moves between two cameras from which their times are believed.
ENOUGH = 10
_BLOCK = 1024  # stays compared at once


@dataclass(frozen=True, eq=False)
class Journey:
    """Where and when the crops of one cluster were seen.

    Attributes:
        cluster: The cluster.
        rows: ``(K,)`` int64 its crops, stay by stay.
        stays: Camera, first and last time, and number of crops of each stay: crops in a row that one camera saw.
    """

    cluster: int
    rows: np.ndarray
    stays: tuple[Stay, ...]

    @property
    def crops(self) -> list[np.ndarray]:
        """The crops of each stay."""
        return np.split(self.rows, np.cumsum([stay[3] for stay in self.stays])[:-1])


def journeys(
    labels: np.ndarray,
    camera: np.ndarray,
    time: np.ndarray,
    *,
    until: np.ndarray | None = None,
    gap: float | None = None,
    most: int | None = 20,
) -> list[Journey]:
    """The ways of clusters from camera to camera.

    Times must be of one clock for all cameras.

    Args:
        labels: ``(N,)`` cluster numbers from 0, -1 for outliers.
        camera: ``(N,)`` camera numbers.
        time: ``(N,)`` numbers: when each crop was taken, or when its track began. A crop without a finite number is
            left out.
        until: ``(N,)`` when its track ended; ``time`` if not given.
        gap: A stay ends where its camera saw nothing for longer than this; only at another camera if not given.
        most: Journeys at most: those of clusters with the most cameras, then with the most crops. All if ``None``.

    Raises:
        ResightError: there is not one camera and one time per label.
    """
    labels = integers("Labels", labels)
    camera, time = integers("Cameras", camera, len(labels)), as_array("Times", time)
    ends = time if until is None else as_array("Times of ends", until)
    for given in (time, ends):
        if given.shape != labels.shape or given.dtype.kind not in "iuf":
            raise ResightError(f"Times must be one number per label; got shape {given.shape} of {given.dtype}.")
    longest = np.inf if gap is None else number("The gap", gap, least=0)
    most = len(labels) if most is None else whole("The number of journeys", most)
    kept = np.flatnonzero((labels >= 0) & np.isfinite(time) & np.isfinite(ends))
    kept = kept[np.lexsort((ends[kept], time[kept], labels[kept]))]
    found = []
    for rows in np.split(kept, np.flatnonzero(np.diff(labels[kept])) + 1) if len(kept) else ():
        last = np.maximum.accumulate(ends[rows])
        new = (np.diff(camera[rows]) != 0) | (time[rows[1:]] - last[:-1] > longest)
        stays = tuple(
            (int(camera[part[0]]), float(time[part[0]]), float(ends[part].max()), len(part))
            for part in np.split(rows, np.flatnonzero(new) + 1)
        )
        found.append(Journey(int(labels[rows[0]]), rows, stays))
    found.sort(key=lambda journey: (-len({stay[0] for stay in journey.stays}), -len(journey.rows), journey.cluster))
    return found[:most]


@dataclass(frozen=True)
class Move:
    """A way of a cluster from one stay to the next, in another camera.

    Attributes:
        cluster: The cluster.
        start: Camera that it left.
        end: Camera that it came to.
        left: When it left.
        arrived: When it came; before ``left`` where both cameras saw it.
        sure: Whether the match is confident (:func:`moves`); ``None`` if not known.
    """

    cluster: int
    start: int
    end: int
    left: float
    arrived: float
    sure: bool | None = None

    @property
    def time(self) -> float:
        """Time from leaving to coming."""
        return self.arrived - self.left


def moves(
    found: Sequence[Journey], features: Any = None, camera: Any = None, *, labels: Any = None, weight: Any = None
) -> list[Move]:
    """The ways of clusters from stay to stay, and which of them are confident.

    The features of a stay are the mean of its crops'. A move is confident where, of all stays in the camera that it
    goes to, the nearest to the stay before the move is of the same cluster, and the other way round. Crops in no
    cluster count as stays of one crop.

    Args:
        found: The journeys of all clusters: ``journeys(…, most=None)``.
        features: ``(N, D)`` embeddings of all crops; without them no move is known to be confident.
        camera: ``(N,)`` camera numbers, with ``features``.
        labels: ``(N,)`` cluster numbers, with ``features``.
        weight: ``(N,)`` what each crop weighs in its stay, such as its quality; all the same if not given.

    Raises:
        ResightError: there is not one row of features, one camera and one label per crop.
    """
    ways: list[Move] = []
    ends: list[tuple[int, int]] = []  # the stays before and after each move, numbered over all journeys
    count = 0
    for journey in found:
        for place, (one, other) in enumerate(zip(journey.stays, journey.stays[1:], strict=False)):
            if one[0] != other[0]:
                ways.append(Move(journey.cluster, one[0], other[0], one[2], other[1]))
                ends.append((count + place, count + place + 1))
        count += len(journey.stays)
    if features is None or not ways:
        return ways
    rows = unit_rows(features)
    camera, labels = integers("Cameras", camera, len(rows)), integers("Labels", labels, len(rows))
    stay = np.full(len(rows), -1)
    for number_, crops in enumerate(crops for journey in found for crops in journey.crops):
        stay[crops] = number_
    alone = np.flatnonzero(stay < 0)
    stay[alone] = count + np.arange(len(alone))
    _, first = np.unique(stay, return_index=True)
    means, where, whose = Tracks(stay).means(rows, weight), camera[first], labels[first]
    inside = {int(one): np.flatnonzero(where == one) for one in np.unique(where)}

    def nearest_is_own(one: np.ndarray, into: int) -> np.ndarray:
        others = inside[into]
        nearest = [
            others[np.argmax(means[one[start : start + _BLOCK]] @ means[others].T, axis=1)]
            for start in range(0, len(one), _BLOCK)
        ]
        return np.asarray(whose[np.concatenate(nearest)] == whose[one])

    pairs = np.array(ends)
    sure = np.zeros(len(ways), bool)
    between = np.array([(way.start, way.end) for way in ways])
    for start, end in np.unique(between, axis=0).tolist():
        own = np.flatnonzero((between == (start, end)).all(axis=1))
        sure[own] = nearest_is_own(pairs[own, 0], end) & nearest_is_own(pairs[own, 1], start)
    return [replace(way, sure=bool(one)) for way, one in zip(ways, sure, strict=True)]


@dataclass(frozen=True)
class Transition:
    """How long the way from one camera to another takes.

    Attributes:
        start: The camera that was left.
        end: The camera that was come to.
        count: Moves that it was learnt from.
        lower: Lower quartile of their times.
        median: Median of their times.
        upper: Upper quartile.
        moves: All moves, confident or not.
    """

    start: int
    end: int
    count: int
    lower: float
    median: float
    upper: float
    moves: int


def transitions(ways: Sequence[Move]) -> list[Transition]:
    """Times between cameras, from confident moves where it is known which are, else from all.

    Returns:
        One per pair of cameras and direction that has a move to learn from; the most frequent first.
    """
    groups: dict[tuple[int, int], list[Move]] = {}
    for way in ways:
        groups.setdefault((way.start, way.end), []).append(way)
    found = []
    for (start, end), several in groups.items():
        times = [way.time for way in several if way.sure is not False]
        if times:
            lower, median, upper = (float(value) for value in np.quantile(times, (0.25, 0.5, 0.75)))
            found.append(Transition(start, end, len(times), lower, median, upper, len(several)))
    return sorted(found, key=lambda one: (-one.count, one.start, one.end))


def shortest_times(ways: Sequence[Move], *, enough: int = ENOUGH) -> dict[tuple[int, int], float]:
    """The time below which nobody comes from one camera to another, as far as confident moves tell.

    It is Tukey's lower fence of the logarithm of the times, ``exp(q1 − 1.5 (q3 − q1))`` with the quartiles q of the
    logarithms (Tukey, "Exploratory Data Analysis", 1977), of both directions together. Cameras with fewer than
    ``enough`` confident moves, or between which a quarter of them takes no time, have none.

    Args:
        ways: The moves.
        enough: Moves needed.

    Returns:
        Times by pair of cameras, the smaller number first.
    """
    enough = whole("The number of moves that are enough", enough)
    groups: dict[tuple[int, int], list[float]] = {}
    for way in ways:
        if way.sure is not False:
            groups.setdefault((min(way.start, way.end), max(way.start, way.end)), []).append(way.time)
    found = {}
    for pair, times in groups.items():
        if len(times) >= enough and np.quantile(times, 0.25) > 0:
            lower, upper = np.quantile(np.log(np.maximum(times, 1e-3)), (0.25, 0.75))
            found[pair] = float(np.exp(lower - 1.5 * (upper - lower)))
    return found


def weigh_impossible(
    neighbours: Neighbours,
    camera: np.ndarray,
    time: np.ndarray,
    shortest: Mapping[tuple[int, int], float],
    weight: float,
    k: int,
) -> tuple[Neighbours, int]:
    """Neighbours in which crops that no one identity can have are less similar.

    Args:
        neighbours: More than ``k`` neighbours per crop, so that others can take the place of those that move back.
        camera: ``(N,)`` camera numbers.
        time: ``(N,)`` times of the crops.
        shortest: Shortest times between cameras (:func:`shortest_times`).
        weight: What the cosine of two crops is multiplied by where less time than that lies between them.
        k: Neighbours per crop to keep.

    Returns:
        The k nearest after that, and how many of the given pairs were weighed.

    Raises:
        ResightError: there is not one camera and time per crop, or the weight is not from 0 to 1.
    """
    instance("neighbours", neighbours, Neighbours, "find_neighbours gives them")
    camera, time = integers("Cameras", camera, len(neighbours)), as_array("Times", time)
    if time.shape != camera.shape or time.dtype.kind not in "iuf":
        raise ResightError(f"Times must be one number per crop; got shape {time.shape} of {time.dtype}.")
    weight, k = number("The weight", weight, least=0, most=1), whole("k", k, most=neighbours.k)
    names, own = np.unique(camera, return_inverse=True)
    own = own.reshape(-1)
    limit = np.zeros((len(names), len(names)))
    places = {int(name): place for place, name in enumerate(names)}
    for (one, other), seconds in shortest.items():
        if one in places and other in places:
            limit[places[one], places[other]] = limit[places[other], places[one]] = seconds
    indices = np.empty((len(camera), k), neighbours.indices.dtype)
    distances = np.empty((len(camera), k), neighbours.distances.dtype)
    weighed = 0
    for start in range(0, len(camera), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(camera)))
        near, far = neighbours.indices[rows], neighbours.distances[rows].astype(np.float64)
        impossible = np.abs(time[near] - time[rows, None]) < limit[own[near], own[rows][:, None]]
        cosine = 1 - far / 2
        far = np.where(impossible & (cosine > 0), 2 - 2 * weight * cosine, far)
        order = np.argsort(far, axis=1, kind="stable")[:, :k]
        indices[rows], distances[rows] = np.take_along_axis(near, order, 1), np.take_along_axis(far, order, 1)
        weighed += int(impossible.sum())
    return replace(neighbours, indices=indices, distances=distances), weighed

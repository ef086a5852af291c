"""Tracks: what a tracker knows of crops, and clusters that agree with it.

Crops of one track show one identity, so they share a cluster. Two tracks that overlap in time in one camera show two
identities, so they do not. The mean feature of a track's crops is less noisy than a crop's, and there are fewer tracks
than crops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from resight.clustering.links import Links, respect_links
from resight.clustering.search import unit_rows
from resight.common.checks import as_array, integers
from resight.common.memory import room_for
from resight.errors import ResightError

_BLOCK = 8192  # features read at once


@dataclass(frozen=True, eq=False)
class Tracks:
    """T tracks of N crops. A crop that belongs to no track is a track of one crop.

    Attributes:
        of_crop: ``(N,)`` int64 track of each crop, 0…T−1; every track has a crop.
        camera: ``(T,)`` int64 camera of each track, if known.
        first: ``(T,)`` float64 time of its first crop, or at which it began, if known; NaN where a crop's time is not.
        last: ``(T,)`` float64 time of its last crop, or at which it ended.
    """

    of_crop: np.ndarray
    camera: np.ndarray | None = None
    first: np.ndarray | None = None
    last: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.of_crop.max(initial=-1)) + 1

    @classmethod
    def of(cls, track: Any, camera: Any = None, time: Any = None, until: Any = None) -> Tracks:
        """Tracks from the columns of a crop table.

        Args:
            track: ``(N,)`` integers; crops of one number and one camera are a track. Below 0: of no track.
            camera: ``(N,)`` integers, if cameras are known. Trackers often number the tracks of each camera from 0.
            time: ``(N,)`` times or frame numbers within a camera, if known: of the crop, or at which its track began.
            until: ``(N,)`` times at which the crop's track ended, if known; ``time`` if not given.

        Raises:
            ResightError: The columns are not numbers of equal length.
        """
        track = integers("The tracks", track)
        size = len(track)
        own = np.zeros_like(track) if camera is None else integers("The cameras", camera, size)
        keys = np.stack([own, track], axis=1)
        alone = np.flatnonzero(track < 0)
        keys[alone, 1] = -1 - np.arange(len(alone))
        _, crop, of_crop = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        of_crop = of_crop.reshape(-1).astype(np.int64)
        if time is None:
            return cls(of_crop, None if camera is None else keys[crop, 0])
        times = [as_array("The times", given) for given in (time, time if until is None else until)]
        for given in times:
            if given.shape != track.shape or given.dtype.kind not in "iuf":
                raise ResightError(
                    f"There are {size} tracks, but times of shape {given.shape} and type {given.dtype}: give one "
                    "number each."
                )
        times = [given.astype(np.float64) for given in times]
        order = np.argsort(of_crop, kind="stable")
        starts = np.searchsorted(of_crop[order], np.arange(len(crop)))
        first, last = np.minimum.reduceat(times[0][order], starts), np.maximum.reduceat(times[1][order], starts)
        return cls(of_crop, None if camera is None else keys[crop, 0], first, last)

    def means(self, features: Any, weight: Any = None) -> np.ndarray:
        """``(T, D)`` float32 mean of each track's L2-normalised features, L2-normalised again.

        Args:
            features: ``(N, D)`` array or memory map.
            weight: ``(N,)`` what each crop weighs, at least 0, such as its quality. All weigh the same if not given,
                and in tracks whose crops all weigh 0.

        Raises:
            ResightError: There are not as many features or weights as crops, or a weight is negative or no number.
        """
        rows = unit_rows(features)
        if len(rows) != len(self.of_crop):
            raise ResightError(f"There are {len(rows)} features, but tracks of {len(self.of_crop)} crops.")
        weights = self._weights(weight)
        result = room_for((len(self), rows.dim), np.float32)
        result[:] = 0
        for start in range(0, len(rows), _BLOCK):
            block = rows.take(slice(start, start + _BLOCK))
            own, place = np.unique(self.of_crop[start : start + _BLOCK], return_inverse=True)
            shares, crops = weights[start : start + _BLOCK], np.arange(len(block))
            result[own] += sp.csr_matrix((shares, (place.reshape(-1), crops)), shape=(len(own), len(block))) @ block
        norm = np.sqrt((result * result).sum(axis=1, keepdims=True))
        return np.divide(result, norm, out=result, where=norm > 0)

    def _weights(self, weight: Any) -> np.ndarray:
        """``(N,)`` float32 weights, of which every track has one above 0."""
        if weight is None:
            return np.ones(len(self.of_crop), np.float32)
        given = as_array("The weights", weight)
        if given.shape != self.of_crop.shape or given.dtype.kind not in "iuf":
            raise ResightError(
                f"There are weights of shape {given.shape} of {given.dtype}, but tracks of {len(self.of_crop)} crops: "
                "give one number per crop."
            )
        if not (np.isfinite(given).all() and given.min(initial=0) >= 0):
            raise ResightError("A crop weighs a finite number of at least 0 in the mean of its track.")
        largest = np.zeros(len(self))
        np.maximum.at(largest, self.of_crop, given)
        largest = largest[self.of_crop]  # of the track, so that no sum of tiny weights is rounded to 0
        return np.divide(given, largest, out=np.ones(len(given)), where=largest > 0).astype(np.float32)

    def overlapping(self, group: np.ndarray) -> np.ndarray:
        """``(P, 2)`` int64 pairs of tracks of one group and one camera that overlap in time, their ends included.

        Args:
            group: ``(T,)`` integers; a track with a number below 0 is left out.
        """
        if self.camera is None or self.first is None or self.last is None:
            return np.empty((0, 2), np.int64)
        inside = np.flatnonzero((group >= 0) & np.isfinite(self.first) & np.isfinite(self.last))
        inside = inside[np.lexsort((self.first[inside], self.camera[inside], group[inside]))]
        pairs, step = [np.empty((0, 2), np.int64)], 1
        while step < len(inside):
            a, b = inside[:-step], inside[step:]
            found = (group[a] == group[b]) & (self.camera[a] == self.camera[b]) & (self.first[b] <= self.last[a])
            if not found.any():  # starts ascend, so no later track overlaps either
                break
            pairs.append(np.stack([a[found], b[found]], axis=1))
            step += 1
        return np.concatenate(pairs)


def track_conflicts(labels: Any, tracks: Tracks) -> dict[str, int]:
    """How clusters and tracks disagree; :func:`respect_tracks` mends both.

    Args:
        labels: ``(N,)`` integers: cluster numbers from 0, -1 for none.
        tracks: The tracks of the N crops.

    Returns:
        ``tracks_divided``: tracks whose crops are in several clusters, or partly in none. ``tracks_overlapping``: pairs
        of tracks of one camera that share a cluster although they overlap in time.

    Raises:
        ResightError: There are not as many labels as crops of tracks.
    """
    labels, own = _checked(labels, tracks), tracks.of_crop
    pairs = np.unique(np.stack([own, labels], axis=1), axis=0)
    divided = np.bincount(pairs[:, 0], minlength=len(tracks)) > 1
    group = _largest_share(labels, tracks)
    return {"tracks_divided": int(divided.sum()), "tracks_overlapping": len(tracks.overlapping(group))}


def _checked(labels: Any, tracks: Tracks) -> np.ndarray:
    labels = integers("Labels", labels)
    if len(labels) != len(tracks.of_crop):
        raise ResightError(
            f"There are {len(labels)} labels, but tracks of {len(tracks.of_crop)} crops: give one label per crop."
        )
    return labels


def _largest_share(labels: np.ndarray, tracks: Tracks) -> np.ndarray:
    """``(T,)`` the cluster that most crops of each track have, the lowest of equals; -1 for tracks that have none."""
    group = np.full(len(tracks), -1)
    inside = labels >= 0
    pairs, counts = np.unique(np.stack([tracks.of_crop[inside], labels[inside]], axis=1), axis=0, return_counts=True)
    order = np.lexsort((-pairs[:, 1], counts, pairs[:, 0]))  # the last of a track: most crops, then the lowest number
    group[pairs[order, 0]] = pairs[order, 1]
    return group


def respect_tracks(labels: Any, features: Any, tracks: Tracks) -> np.ndarray:
    """Changes clusters so that they agree with tracks.

    All crops of a track go to the cluster that holds most of those that have one (of equals the lowest number); a
    track whose crops have none keeps none. Clusters are not joined, since one track between two clusters may be a
    mistake in one of them. Then a cluster in which tracks of one camera overlap in time is divided as
    :func:`~resight.clustering.respect_links` does it.

    Args:
        labels: ``(N,)`` integers: cluster numbers from 0, -1 for none.
        features: ``(N, D)`` numbers; L2-normalised here.
        tracks: The tracks of the N crops.

    Returns:
        ``(N,)`` int64 labels without gaps.

    Raises:
        ResightError: There are not as many labels, features and crops of tracks.
    """
    labels, own = _checked(labels, tracks), tracks.of_crop
    group = _largest_share(labels, tracks)
    apart = tracks.overlapping(group)
    _, crop = np.unique(own, return_index=True)
    split = np.isin(group, group[apart[:, 0]])[own]  # their tracks stay whole
    must = np.stack([crop[own[split]], np.flatnonzero(split)], axis=1)
    return respect_links(group[own], features, Links(must, crop[apart]))

"""Bottom-up clustering: the cheapest pairs of clusters are merged.

Lin, Dong, Zheng, Yan and Yang, "A Bottom-Up Clustering Approach to Unsupervised Person Re-identification" (BUC), AAAI
2019. The cost is that of Nikhal and Riggan, "Unsupervised Attention Based Instance Discriminative Learning for Person
Re-Identification", WACV 2021, equations 9 and 10.

The merges are the ``merges`` cheapest edges of the minimum spanning forest of the clusters. A forest found from some of
the pairs rules out others: a pair that costs more than every edge on the forest's path between its clusters is in no
forest of more pairs. The pairs of the neighbour lists give nearly the whole forest. Crops that may have other cheap
pairs are then compared with each other, by approximate similarities first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from resight.clustering.cameras import check_cameras
from resight.clustering.labels import PseudoLabels
from resight.clustering.search import Neighbours, Search, UnitRows, nearest_neighbours, unit_rows
from resight.clustering.search.products import TILE_ELEMENTS, Products
from resight.common.checks import flag, number, whole
from resight.errors import ResightError

_OPTIONS = ("search", "recall", "device", "k", "memory")
_LISTED = 32  # neighbours per crop, the crop itself counted, whose pairs are examined first
_STRIP = 1024  # rows multiplied at once
_SAMPLED = 256  # random rows multiplied at once, at most
_GATHERED = 1 << 25  # numbers copied or read at once
_AT_ONCE = 1 << 18  # pairs of a tile that one thread examines in one call
_PENDING = 1 << 20  # pairs collected before they are added to the forest


@dataclass(frozen=True, eq=False)
class Merging:
    """Clusters after some merges.

    Attributes:
        labels: ``(N,)`` int64 cluster of each crop, 0…C−1, numbered by their lowest-index crop.
        costs: ``(merges,)`` float64 cost d of each merge, ascending.
        distances: ``(merges,)`` float64 feature distance d₀ of each merge, a part of its cost.
        recall: Share of the true neighbours that an approximate search found, measured on a sample; ``None`` where the
            merges are exact.
    """

    labels: np.ndarray
    costs: np.ndarray
    distances: np.ndarray
    recall: float | None = None


def merge_clusters(
    features: Any,
    labels: Any,
    merges: int,
    *,
    size_penalty: float = 0.0,
    squared: bool = False,
    camera: Any = None,
    search: Search = "auto",
    recall: float = 0.95,
    device: Any = None,
    k: int = _LISTED,
    memory: int | None = None,
) -> Merging:
    """Merges clusters, the cheapest pair of crops first (Nikhal and Riggan 2021, equations 9 and 10).

    A pair of crops i < j in different clusters A and B costs ``d = d₀ + size_penalty · (|A| + |B|)``, where d₀ is the
    Euclidean distance of their L2-normalised features, and the sizes are those before the first merge. Pairs are taken
    by ascending (d, i, j). A pair joins the clusters of its crops unless they are one cluster already, until
    ``merges`` pairs have joined clusters. d₀ is the root of a float32 squared distance; costs are float64.

    The result is exact and does not depend on the number of threads, ``k`` or ``memory``, with one exception: where an
    approximate search found enough pairs for all merges, only these pairs are considered.

    Args:
        features: ``(N, D)`` array or memory map, which may be larger than the memory, or
            :class:`~resight.clustering.UnitRows`; L2-normalised here.
        labels: ``(N,)`` current cluster of each crop, 0…C−1 without gaps; ``np.arange(N)`` at the start.
        merges: Number of merges, 0…C−1.
        size_penalty: λ, the cost of each crop in the two clusters; 0.003 in BUC.
        squared: Whether d₀ is the squared distance, as in BUC's public code, and not the distance, as in the papers.
        camera: ``(N,)`` camera of each crop: pairs within a camera are ignored. There are fewer merges where the other
            pairs join fewer clusters. This uses camera labels. ``None`` takes all pairs.
        search: ``"exact"``, ``"approximate"``, or ``"auto"``: exact for up to 150,000 crops (1,500,000 on a GPU).
        recall: Share of the true neighbours that an approximate search aims to find, above 0 and at most 1.
        device: Device of PyTorch that searches for neighbours, such as ``"cuda"``; ``None`` and ``"cpu"`` are the CPU.
        k: Neighbours per crop, the crop itself counted, whose pairs are examined first. With more of them, fewer crops
            are compared with each other afterwards.
        memory: Bytes that features and neighbours may each take in memory; the rest lies on disk. By default a third of
            the memory that is available.

    Returns:
        The clusters after the merges. ``recall`` is set where only the pairs of an approximate search were considered.

    Raises:
        ResightError: The labels are not clusters of these features, ``merges`` or another argument is out of range, or
            the features are not usable.
    """
    size_penalty, squared = _checked_penalty(size_penalty), flag("squared", squared)
    rows = unit_rows(features, memory=memory)
    merges = whole("The number of merges", merges, least=-(2**63))
    current = _checked_labels(labels, len(rows))
    clusters = int(current.max()) + 1
    if not 0 <= merges < clusters:
        raise ResightError(
            f"{clusters} clusters can be merged 0 to {clusters - 1} times, got merges={merges}: ask for a number in "
            f"that range."
        )
    # without cameras every crop gets a different number, so that no pair is ignored
    place = (
        np.arange(len(rows)) if camera is None else np.unique(check_cameras(camera), return_inverse=True)[1].reshape(-1)
    )
    if len(place) != len(rows):
        raise ResightError(f"There are {len(rows)} features, but {len(place)} cameras: give one camera per crop.")
    near = nearest_neighbours(rows, k, search=search, recall=recall, device=device, memory=memory) if merges else None
    return _merge(rows, near, _Forest(current, place, merges, size_penalty, squared))


def bottom_up(
    features: Any, clusters: int, *, share: float = 0.04, size_penalty: float = 0.003, **options: Any
) -> PseudoLabels:
    """Merges single crops to a known number of clusters, in stages (Lin et al., AAAI 2019).

    Each stage is one :func:`merge_clusters` with the cluster sizes at its start. In a single stage the size penalty
    would be the same for every pair, and single linkage would chain most crops of a hard set into one cluster.

    Args:
        features: ``(N, D)`` array or memory map, or :class:`~resight.clustering.UnitRows`; L2-normalised here.
        clusters: Number of clusters to end with, 1…N.
        share: Merges per stage, as a share of N, above 0 and at most 1 (Nikhal and Riggan 2021, section 5.2).
        size_penalty: λ, the cost of each crop in the two clusters of a pair; the default is that of BUC.
        options: ``search``, ``recall``, ``device``, ``k`` and ``memory`` of :func:`merge_clusters`.

    Returns:
        The clusters, without outliers. After an approximate search ``facts`` holds ``neighbour_recall``, the share of
        the true neighbours found.

    Raises:
        ResightError: An argument is out of range, or the features are not usable.
    """
    rows = unit_rows(features, memory=options.get("memory"))
    clusters = whole("The number of clusters", clusters, least=-(2**63))
    if unknown := options.keys() - _OPTIONS:
        raise ResightError(f"There is no option '{min(unknown)}' of bottom_up: choose of {', '.join(_OPTIONS)}.")
    if not 1 <= clusters <= len(rows):
        raise ResightError(f"{len(rows)} crops form 1 to {len(rows)} clusters, got clusters={clusters}.")
    share = number("The share of merges of a stage", share, above=0, most=1)
    size_penalty = _checked_penalty(size_penalty)
    near = nearest_neighbours(rows, options.pop("k", _LISTED), **options)
    labels, left = np.arange(len(rows)), len(rows) - clusters
    while left:
        merges = min(left, math.ceil(share * len(rows)))
        labels = _merge(rows, near, _Forest(labels, np.arange(len(rows)), merges, size_penalty, False)).labels
        left -= merges
    return PseudoLabels(labels, {} if near.recall is None else {"neighbour_recall": near.recall})


def _merge(rows: UnitRows, near: Neighbours | None, forest: _Forest) -> Merging:
    """The merges of a forest that has no pairs yet; without neighbours there are none."""
    recall = None
    if near is not None:
        forest.add_neighbours(near)
        if near.recall is not None and forest.complete:
            recall = near.recall
        else:
            _sweep(rows, forest.undecided(near), forest)
    return Merging(forest.labels(), forest.cost, forest.distance, recall)


def _checked_penalty(size_penalty: float) -> float:
    return number("size_penalty of bottom-up clustering", size_penalty, least=0)


class _Forest:
    """The cheapest edges of the minimum spanning forest of the clusters, from the pairs added so far.

    Args:
        labels: ``(N,)`` int64 cluster of each crop.
        camera: ``(N,)`` int64 camera of each crop; pairs within a camera are ignored.
        most: Number of edges to keep. No other edge can be needed: pairs added later only make edges cheaper.
        size_penalty: λ, the cost of each crop in the two clusters of a pair.
        squared: Whether the squared distance is d₀.

    Attributes:
        distance: ``(E,)`` float64 d₀ of the edges, ascending by (cost, first crop, second crop).
        cost: ``(E,)`` float64 cost of the edges.
    """

    def __init__(self, labels: np.ndarray, camera: np.ndarray, most: int, size_penalty: float, squared: bool) -> None:
        self.clusters = labels
        self.camera = camera
        self.sizes = np.bincount(labels)
        self.most = most
        self.size_penalty = size_penalty
        self.squared = squared
        self.first = self.second = np.empty(0, np.int64)
        self.square = np.empty(0, np.float32)
        self.add(self.first, self.second, self.square)

    @property
    def complete(self) -> bool:
        """Whether there are ``most`` edges."""
        return len(self.cost) == self.most

    def add(self, first: np.ndarray, second: np.ndarray, square: np.ndarray) -> None:
        """Adds pairs of crops ``first < second`` in different clusters, with their float32 squared distances."""
        from resight.clustering import _merging

        first, second = np.concatenate([self.first, first]), np.concatenate([self.second, second])
        square = np.concatenate([self.square, square])
        distance = self._distance(square)
        one, other = self.clusters[first], self.clusters[second]
        cost = distance + self.size_penalty * (self.sizes[one] + self.sizes[other])
        order = np.lexsort((second, first, cost))
        kept, link, since = _merging.join_ascending(one[order], other[order], len(self.sizes), self.most)
        kept = order[kept]
        self.first, self.second, self.square = first[kept], second[kept], square[kept]
        self.distance, self.cost = distance[kept], cost[kept]
        self.link, self.since = link, since
        # threads of a sweep read this while it is replaced, so it is replaced as a whole
        self.state = (self.first, self.second, self.cost, link, since, self.most)

    def add_neighbours(self, near: Neighbours) -> None:
        """Adds the pairs of the neighbour lists."""
        step = max(1, _PENDING // near.k)
        for start in range(0, len(near), step):
            other = near.indices[start : start + step].astype(np.int64)
            crop = np.broadcast_to(np.arange(start, start + len(other))[:, None], other.shape)
            apart = (self.clusters[crop] != self.clusters[other]) & (self.camera[crop] != self.camera[other])
            crop, other = crop[apart], other[apart]
            self.add(np.minimum(crop, other), np.maximum(crop, other), near.distances[start : start + step][apart])

    def undecided(self, near: Neighbours) -> np.ndarray:
        """Crops that may have a pair outside the lists as cheap as the last edge: both crops of each such pair."""
        if near.k == len(near):
            return np.empty(0, np.int64)
        if not self.complete:
            return np.arange(len(near))
        # a GPU may round the last digit of a distance differently
        furthest = self._distance(np.nextafter(near.distances[:, -1], np.float32(0)))
        least = furthest + self.size_penalty * (self.sizes[self.clusters] + self.sizes.min())
        return np.flatnonzero(least <= self.cost[-1])

    def labels(self) -> np.ndarray:
        """``(N,)`` int64 clusters after the edges' merges, numbered by their lowest-index crop."""
        top = self.link
        while (top[top] != top).any():
            top = top[top]
        _, lowest, group = np.unique(top[self.clusters], return_index=True, return_inverse=True)
        return np.argsort(np.argsort(lowest))[group.reshape(-1)].astype(np.int64, copy=False)

    def _distance(self, square: np.ndarray) -> np.ndarray:
        exact = square.astype(np.float64)
        return exact if self.squared else np.sqrt(exact)


def _sweep(rows: UnitRows, wanted: np.ndarray, forest: _Forest) -> None:
    """Adds all pairs between the crops ``wanted`` that can be in the forest."""
    if len(wanted) < 2:
        return
    from resight.clustering import _merging
    from resight.common.kernels import map_rows

    products = Products(rows)
    error = products.bound + 1.01 * products.relative  # no similarity of unit rows is above 1.01
    width = max(_STRIP, min(TILE_ELEMENTS // _STRIP, _GATHERED // rows.dim))
    found: list[Any] = []
    pending = 0
    for strip, left in _strips(wanted, whole=not forest.complete):
        for start in range(left, len(wanted), width):
            columns = wanted[start : start + width]
            tile = products.tile(_as_slice(strip), _as_slice(columns))

            def work(top: int, bottom: int, tile: Any = tile, strip: Any = strip, columns: Any = columns) -> Any:
                return _merging.cheap_pairs(
                    rows.data, rows.norm, tile, strip, columns, error, forest.clusters, forest.camera, forest.sizes,
                    forest.size_penalty, forest.squared, *forest.state, top, bottom,
                )  # fmt: skip

            for part in map_rows(work, len(strip), chunk=max(1, _AT_ONCE // len(columns))):
                found.append(part)
                pending += len(part[0])
                if pending > _PENDING:
                    forest.add(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
                    found, pending = [], 0
        if pending:
            forest.add(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
            found, pending = [], 0


def _strips(wanted: np.ndarray, *, whole: bool) -> Iterator[tuple[np.ndarray, int]]:
    """Crops to multiply at once, with the place in ``wanted`` of the first crop to multiply them with.

    With ``whole``, random crops come first: one, two, four and so on, each with all of ``wanted``. A crop's cheapest
    pair with h random crops bounds what it needs from the others, of which about one in h is nearer. So each of these
    strips has about 2N pairs to compare exactly, while a first strip of many crops would have nearly all its pairs.
    """
    if whole:
        order = np.random.default_rng(0).permutation(wanted)
        height = 1
        while height <= _SAMPLED and height <= len(wanted):
            yield np.sort(order[height - 1 : 2 * height - 1]), 0
            height *= 2
    for top in range(0, len(wanted), _STRIP):
        yield wanted[top : top + _STRIP], top


def _as_slice(rows: np.ndarray) -> slice | np.ndarray:
    """Ascending rows, as a slice where they are consecutive: a slice needs no copy."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first == len(rows) - 1 else rows


def _checked_labels(labels: Any, size: int) -> np.ndarray:
    """``(size,)`` int64 labels, or a :class:`ResightError` unless they are 0…C−1 without gaps."""
    current = PseudoLabels(labels).labels
    if len(current) != size:
        raise ResightError(f"There are {size} features, but {len(current)} labels: give each crop its cluster.")
    if current.min() < 0:
        raise ResightError(
            f"Crop {int(np.argmin(current))} is an outlier (label -1), but bottom-up clustering merges clusters: give "
            f"each outlier a cluster by itself."
        )
    return current

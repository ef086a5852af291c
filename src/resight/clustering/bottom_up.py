"""Bottom-up clustering: the cheapest pairs of clusters are merged.

Lin, Dong, Zheng, Yan and Yang, "A Bottom-Up Clustering Approach to Unsupervised Person Re-identification", AAAI 2019;
with the cost of Nikhal and Riggan, "Unsupervised Attention Based Instance Discriminative Learning for Person
Re-Identification", WACV 2021, equations 9-10.

What the merges join is the minimum spanning forest of the clusters, up to its ``merges``-th edge. The forest of a part
of the pairs bounds what others can add: a pair costlier than all edges on the forest's path between its clusters is in
no forest of more pairs. The pairs of the neighbour lists give nearly the whole forest; crops that can have other cheap
pairs are then compared with each other, by approximate similarities first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from resight.clustering.labels import PseudoLabels
from resight.clustering.search import Neighbours, Search, UnitRows, nearest_neighbours, unit_rows
from resight.clustering.search.products import TILE_ELEMENTS, Products
from resight.errors import ResightError

_LISTED = 32  # neighbours a crop, itself included, whose pairs are looked at first
_STRIP = 1024  # rows multiplied at once
_SAMPLED = 256  # random rows multiplied at once
_GATHERED = 1 << 25  # numbers of rows that are copied or read at once
_AT_ONCE = 1 << 18  # pairs of a tile that one thread looks at together
_PENDING = 1 << 20  # pairs found before the forest takes them up


@dataclass(frozen=True, eq=False)
class Merging:
    """Clusters after a merge step.

    Attributes:
        labels: ``(N,)`` int64 cluster of each crop, 0 … C-1, numbered by their lowest-index crop.
        costs: ``(merges,)`` float64 cost d of each merge, ascending.
        distances: ``(merges,)`` float64 distance d₀ of the features that is part of it.
        recall: Share of the true neighbours that an approximate search found, on a sample; ``None`` where the merges
            are exact.
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
    """Merge clusters, the cheapest pair of crops first.

    A pair of crops i < j of different clusters A and B costs ``d = d₀ + size_penalty · (|A| + |B|)``, with d₀ the
    Euclidean distance of their L2-normalised features and the sizes as they are before the first merge. Pairs are
    taken by ascending (d, i, j); a pair whose crops are by then in one cluster is passed over, else their clusters are
    joined, until ``merges`` have been. A distance is the root of a float32 squared distance, as in
    :class:`~resight.clustering.Neighbours`; a cost is a float64.

    The result is exact and does not depend on the threads, ``k`` or ``memory``, unless the neighbours were searched for
    approximately and their pairs give enough merges: then only these pairs are considered, and ``recall`` of the result
    says how many true neighbours they hold.

    Args:
        features: ``(N, D)`` array or memory map, which may be larger than the memory, or
            :class:`~resight.clustering.UnitRows`; L2-normalised here.
        labels: ``(N,)`` current cluster of each crop, 0 … C-1 without gaps; ``np.arange(N)`` at the start.
        merges: How often two clusters are joined, at most C-1.
        size_penalty: λ, what each crop of the two clusters adds to the cost; 0.003 in BUC.
        squared: Let d₀ be the squared distance, as in BUC's public code, not the distance, as in the papers.
        camera: ``(N,)`` camera of each crop: only pairs of crops of different cameras are taken, and there are fewer
            merges where these join fewer clusters. This uses camera labels. ``None`` takes all pairs.
        search: ``"exact"``, ``"approximate"``, or ``"auto"``: exact for up to 150,000 crops (1,500,000 on a GPU).
        recall: Share of the true neighbours that an approximate search aims to find.
        device: Where to search for neighbours, as torch names it; ``None`` and ``"cpu"`` are the CPU.
        k: Neighbours a crop, itself included, whose pairs are looked at first. More of them leave fewer crops to
            compare with each other after.
        memory: Bytes that features and neighbours may take each before they lie on disk; by default, shares of what is
            available.

    Returns:
        The clusters after the merges.

    Raises:
        ResightError: The labels are not clusters of these features, there are not so many merges, a setting is out of
            range, or the features are not usable.
    """
    _check_penalty(size_penalty)
    rows = unit_rows(features, memory=memory)
    current = _checked_labels(labels, len(rows))
    clusters = int(current.max()) + 1
    if not 0 <= merges < clusters:
        raise ResightError(
            f"{clusters} clusters can be merged 0 to {clusters - 1} times, got merges={merges}: ask for fewer merges, "
            f"or stop when so few clusters are left."
        )
    # numbers of their own, where no pair is to be passed over for its cameras
    place = np.arange(len(rows)) if camera is None else np.unique(camera, return_inverse=True)[1].reshape(-1)
    if len(place) != len(rows):
        raise ResightError(f"There are {len(rows)} features, but {len(place)} cameras: give one camera a crop.")
    near = nearest_neighbours(rows, k, search=search, recall=recall, device=device, memory=memory) if merges else None
    return _merge(rows, near, _Forest(current, place, int(merges), float(size_penalty), bool(squared)))


def bottom_up(
    features: Any, clusters: int, *, share: float = 0.04, size_penalty: float = 0.003, **options: Any
) -> PseudoLabels:
    """Merge single crops to a known number of clusters, in stages: the sizes of clusters count anew in each.

    In one step the size penalty would be the same for every pair, and single linkage would chain most crops of a hard
    set into one cluster.

    Args:
        features: ``(N, D)`` array or memory map, or :class:`~resight.clustering.UnitRows`.
        clusters: How many clusters to leave, 1 … N.
        share: Merges of a stage, as a share of N (Nikhal and Riggan 2021, section 5.2).
        size_penalty: λ of :func:`merge_clusters`; by default that of BUC.
        options: Passed on to :func:`merge_clusters`, but not ``squared``.

    Returns:
        The clusters; there are no outliers.

    Raises:
        ResightError: As :func:`merge_clusters`, or ``clusters`` or ``share`` is out of range.
    """
    rows = unit_rows(features, memory=options.get("memory"))
    if not 1 <= clusters <= len(rows):
        raise ResightError(f"{len(rows)} crops form 1 to {len(rows)} clusters, got clusters={clusters}.")
    if not 0 < share <= 1:
        raise ResightError(f"The share of merges of a stage must be above 0 and at most 1, got {share}.")
    _check_penalty(size_penalty)
    near = nearest_neighbours(rows, options.pop("k", _LISTED), **options)
    labels, left = np.arange(len(rows)), len(rows) - clusters
    while left:
        merges = min(left, math.ceil(share * len(rows)))
        labels = _merge(rows, near, _Forest(labels, np.arange(len(rows)), merges, size_penalty, False)).labels
        left -= merges
    return PseudoLabels(labels, {} if near.recall is None else {"neighbour_recall": near.recall})


def _merge(rows: UnitRows, near: Neighbours | None, forest: _Forest) -> Merging:
    """:func:`merge_clusters` with the neighbours found; no merges without."""
    recall = None
    if near is not None:
        forest.add_neighbours(near)
        if near.recall is not None and forest.complete:
            recall = near.recall
        else:
            _sweep(rows, forest.undecided(near), forest)
    return Merging(forest.labels(), forest.cost, forest.distance, recall)


def _check_penalty(size_penalty: float) -> None:
    if not 0 <= size_penalty < math.inf:
        raise ResightError(f"size_penalty of bottom-up clustering must be a number of at least 0, got {size_penalty}.")


class _Forest:
    """The first edges of the minimum spanning forest of the clusters, of the pairs it has been given so far.

    Args:
        labels: ``(N,)`` int64 cluster of each crop.
        camera: ``(N,)`` int64; pairs of one camera are passed over.
        most: Edges wanted. Further ones are not kept: pairs added later only make edges cheaper.
        size_penalty: See :func:`merge_clusters`.
        squared: See :func:`merge_clusters`.

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
        """Whether there are as many edges as wanted."""
        return len(self.cost) == self.most

    def add(self, first: np.ndarray, second: np.ndarray, square: np.ndarray) -> None:
        """Take up pairs of crops ``first < second`` of different clusters with their float32 squared distances."""
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
        # what the threads of a sweep read, replaced as a whole
        self.state = (self.first, self.second, self.cost, link, since, self.most)

    def add_neighbours(self, near: Neighbours) -> None:
        """Take up the pairs of the neighbour lists."""
        step = max(1, _PENDING // near.k)
        for start in range(0, len(near), step):
            other = near.indices[start : start + step].astype(np.int64)
            crop = np.broadcast_to(np.arange(start, start + len(other))[:, None], other.shape)
            apart = (self.clusters[crop] != self.clusters[other]) & (self.camera[crop] != self.camera[other])
            crop, other = crop[apart], other[apart]
            self.add(np.minimum(crop, other), np.maximum(crop, other), near.distances[start : start + step][apart])

    def undecided(self, near: Neighbours) -> np.ndarray:
        """Crops that may have pairs outside the lists as cheap as the last edge; such a pair is one of two of them."""
        if near.k == len(near):
            return np.empty(0, np.int64)
        if not self.complete:
            return np.arange(len(near))
        # a device may round the last digit of a distance in another way
        furthest = self._distance(np.nextafter(near.distances[:, -1], np.float32(0)))
        least = furthest + self.size_penalty * (self.sizes[self.clusters] + self.sizes.min())
        return np.flatnonzero(least <= self.cost[-1])

    def labels(self) -> np.ndarray:
        """``(N,)`` int64 clusters that the edges leave, numbered by their lowest-index crop."""
        top = self.link
        while (top[top] != top).any():
            top = top[top]
        _, lowest, group = np.unique(top[self.clusters], return_index=True, return_inverse=True)
        return np.argsort(np.argsort(lowest))[group.reshape(-1)].astype(np.int64, copy=False)

    def _distance(self, square: np.ndarray) -> np.ndarray:
        exact = square.astype(np.float64)
        return exact if self.squared else np.sqrt(exact)


def _sweep(rows: UnitRows, wanted: np.ndarray, forest: _Forest) -> None:
    """Take up all pairs of the crops ``wanted`` that belong into the forest."""
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
    """Rows to multiply at once, and the first of the columns ``wanted`` for them.

    With ``whole``, random crops come first, one, two, four, …, each with all columns. A crop's best pair with h of them
    bounds what it needs of the others, of which about one in h is nearer: so each of these strips has about 2N pairs
    to compare exactly, where a first strip of many rows would have nearly all of its own.
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
    """Ascending rows as a slice where they are consecutive: those need no copy."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first == len(rows) - 1 else rows


def _checked_labels(labels: Any, size: int) -> np.ndarray:
    """``(size,)`` int64 labels, refused where they are not 0 … C-1 without gaps."""
    current = PseudoLabels(labels).labels
    if len(current) != size:
        raise ResightError(f"There are {size} features, but {len(current)} labels: give each crop its cluster.")
    if current.min() < 0:
        raise ResightError(
            f"Crop {int(np.argmin(current))} is an outlier (label -1), but bottom-up clustering merges clusters: give "
            f"each such crop a cluster of its own."
        )
    return current

"""Compiled inner loops of bottom-up clustering (numba); import this module only inside functions.

A *forest* is the result of Kruskal's algorithm on the clusters. Its edges are pairs of crops ``first < second`` in
ascending order of (cost, first, second). ``link`` and ``since`` record how the edges joined the clusters: edge
``since[c]`` made cluster c part of the set of ``link[c]``. The smaller set joins the larger one and paths are not
compressed, so a path from a cluster to its root is short, and its edges ascend.
"""

from __future__ import annotations

import numpy as np

from resight.clustering.search._candidates import LANES, largest
from resight.clustering.search._rows import grown, pair_distance
from resight.common.kernels import jit

_NEVER = np.iinfo(np.int64).max


@jit()
def join_ascending(
    one: np.ndarray, other: np.ndarray, clusters: int, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kruskal's algorithm on edges in ascending order.

    Args:
        one: ``(E,)`` int64 cluster of each edge's first crop.
        other: ``(E,)`` int64 cluster of each edge's second crop.
        clusters: Number of clusters.
        most: Largest number of edges to keep.

    Returns:
        Indices of the edges that join two sets, ascending; and ``link`` and ``since`` of the forest, ``(clusters,)``
        int64 each.
    """
    link = np.arange(clusters)
    since = np.full(clusters, _NEVER, np.int64)
    size = np.ones(clusters, np.int64)
    kept = np.empty(most, np.int64)
    count = 0
    for e in range(one.shape[0]):
        if count == most:
            break
        a = one[e]
        while link[a] != a:
            a = link[a]
        b = other[e]
        while link[b] != b:
            b = link[b]
        if a != b:
            if size[a] < size[b]:
                a, b = b, a
            link[b] = a
            since[b] = count
            size[a] += size[b]
            kept[count] = e
            count += 1
    return grown(kept, count, count), link, since


@jit()
def joined_at(link: np.ndarray, since: np.ndarray, a: int, b: int) -> int:
    """The edge of the forest that put clusters ``a != b`` into one set: the largest edge on the path between them.

    Returns:
        The number of the edge, or the largest int64 where the clusters are in different sets.
    """
    edge = 0
    while a != b:
        if since[a] > since[b]:
            a, b = b, a
        edge = since[a]
        if edge == _NEVER:
            break
        a = link[a]
    return edge


@jit()
def cheap_pairs(
    data: np.ndarray,
    norm: np.ndarray | None,
    tile: np.ndarray,
    row_ids: np.ndarray,
    column_ids: np.ndarray,
    error: float,
    labels: np.ndarray,
    camera: np.ndarray,
    sizes: np.ndarray,
    size_penalty: float,
    squared: bool,
    first: np.ndarray,
    second: np.ndarray,
    cost: np.ndarray,
    link: np.ndarray,
    since: np.ndarray,
    most: int,
    start: int,
    stop: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a tile that cost less than the costliest edge on the forest's path between their clusters.

    A pair is compared exactly only where its approximate similarity allows that.

    Args:
        data: ``(N, D)`` ``data`` of :class:`~resight.clustering.UnitRows`.
        norm: ``norm`` of the same rows.
        tile: ``(B, W)`` float32 approximate similarities.
        row_ids: ``(B,)`` crop of each row of the tile.
        column_ids: ``(W,)`` crop of each column of the tile.
        error: Largest error of an approximate similarity.
        labels: ``(N,)`` int64 cluster of each crop.
        camera: ``(N,)`` int64 camera of each crop; pairs within a camera are ignored.
        sizes: ``(C,)`` int64 crops in each cluster.
        size_penalty: λ, the cost of each crop in the two clusters of a pair.
        squared: Whether the squared distance is part of the cost.
        first: ``(E,)`` int64 first crop of each edge of the forest.
        second: ``(E,)`` int64 second crop of each edge.
        cost: ``(E,)`` float64 cost of each edge.
        link: ``(C,)`` int64 of the forest.
        since: ``(C,)`` int64 of the forest.
        most: Number of edges wanted: a forest with that many edges takes only pairs cheaper than its last edge.
        start: First row of the tile to process.
        stop: One past the last row.

    Returns:
        Lower and higher crop of each pair (int64), and their squared distances (float32).
    """
    out_first = np.empty(64, np.int64)
    out_second = np.empty(64, np.int64)
    out_distance = np.empty(64, np.float32)
    filled = 0
    last = cost.shape[0] - 1
    full = cost.shape[0] == most
    smallest = sizes.min()
    for r in range(start, stop):
        i = row_ids[r]
        a = labels[i]
        bar = np.float32(-np.inf)
        if full:
            # the factor covers the rounding of a cost, and 1e-6 covers the rounding of the bar
            reach = cost[last] * (1.0 + 1e-15) - size_penalty * (sizes[a] + smallest)
            if reach < 0.0:
                continue
            bar = np.float32(1.0 - 0.5 * (reach if squared else reach * reach) - error - 1e-6)
        for lane in range(0, tile.shape[1], LANES):
            lane_end = min(lane + LANES, tile.shape[1])
            if largest(tile[r], lane, lane_end) < bar:
                continue
            for c in range(lane, lane_end):
                if tile[r, c] >= bar:
                    j = column_ids[c]
                    b = labels[j]
                    if a == b or camera[i] == camera[j]:
                        continue
                    edge = joined_at(link, since, a, b)
                    if edge == _NEVER:
                        edge = last if full else -1  # -1: any cost will do
                    penalty = size_penalty * (sizes[a] + sizes[b])
                    low = min(i, j)
                    high = max(i, j)
                    distance = max(0.0, 2.0 - 2.0 * (np.float64(tile[r, c]) + error))
                    if edge >= 0 and not _precedes(distance, squared, penalty, low, high, first, second, cost, edge):
                        continue
                    exact = np.float32(pair_distance(data, norm, low, high))
                    if edge >= 0 and not _precedes(exact, squared, penalty, low, high, first, second, cost, edge):
                        continue
                    if filled == out_first.shape[0]:
                        out_first = grown(out_first, filled, 2 * filled)
                        out_second = grown(out_second, filled, 2 * filled)
                        out_distance = grown(out_distance, filled, 2 * filled)
                    out_first[filled] = low
                    out_second[filled] = high
                    out_distance[filled] = exact
                    filled += 1
    return grown(out_first, filled, filled), grown(out_second, filled, filled), grown(out_distance, filled, filled)


@jit()
def _precedes(
    distance: float,
    squared: bool,
    penalty: float,
    low: int,
    high: int,
    first: np.ndarray,
    second: np.ndarray,
    cost: np.ndarray,
    edge: int,
) -> bool:
    """Whether a pair at this squared distance comes before an edge of the forest."""
    own = np.float64(distance)
    own = (own if squared else np.sqrt(own)) + penalty
    if own != cost[edge]:
        return own < cost[edge]
    if low != first[edge]:
        return low < first[edge]
    return high < second[edge]

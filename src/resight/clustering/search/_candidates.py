"""Compiled inner loops on candidate neighbours (numba); import this module only inside functions.

The search compares crops by approximate similarities, a tile of rows and columns at a time. The *candidates* of a crop
are the crops that may be among its nearest neighbours by the similarities so far. They are kept in buffers of C
candidates for R consecutive crops from ``origin`` on; the buffer of crop i is row ``i - origin`` of these arrays:

- ``value (R, C)`` float32 and ``where (R, C)`` int32: similarity and crop of each candidate;
- ``count (R,)`` int32: number of candidates;
- ``cut (R,)`` float32: a crop of lower similarity cannot be among the nearest;
- ``full (R,)`` int32: the number of candidates at which the buffer is thinned out next, which raises ``cut``;
- ``spilt (R,)`` bool: whether candidates were dropped because more of them than the buffer holds lie within the error
  of the similarities.
"""

from __future__ import annotations

import numpy as np

from resight.clustering.search._rows import grown, pair_distance
from resight.common.kernels import jit

LANES = 64  # similarities compared with a bound at once


@jit()
def kth_largest(values: np.ndarray, rank: int) -> float:
    """The ``rank``-th largest of float32 values, 1 being the largest, by quickselect; ``values`` is not changed."""
    work = values.copy()
    low = 0
    high = work.shape[0] - 1
    target = rank - 1
    while low < high:
        pivot = work[(low + high) // 2]
        left = low
        right = high
        while left <= right:
            while work[left] > pivot:
                left += 1
            while work[right] < pivot:
                right -= 1
            if left <= right:
                held = work[left]
                work[left] = work[right]
                work[right] = held
                left += 1
                right -= 1
        if target <= right:
            high = right
        elif target >= left:
            low = left
        else:
            break
    return work[target]


@jit()
def threshold(kth: float, margin: float, relative: float) -> float:
    """The least approximate similarity that a true neighbour can have, given the k-th largest one."""
    return kth - margin - relative * abs(kth)


@jit()
def _drop(value: np.ndarray, where: np.ndarray, count: int, cut: float) -> int:
    """Keeps the candidates at or above ``cut``, in order, and returns their number."""
    kept = 0
    for t in range(count):
        if value[t] >= cut:
            value[kept] = value[t]
            where[kept] = where[t]
            kept += 1
    return kept


@jit(inline="never")
def _thin_out(
    value: np.ndarray,
    where: np.ndarray,
    count: np.ndarray,
    cut: np.ndarray,
    full: np.ndarray,
    spilt: np.ndarray,
    slot: int,
    need: int,
    margin: float,
    relative: float,
) -> float:
    """Drops the candidates in buffer ``slot`` that cannot be among the nearest, and returns its new ``cut``."""
    size = count[slot]
    cut[slot] = np.float32(threshold(kth_largest(value[:size], need), margin, relative))
    size = _drop(value, where, size, cut[slot])
    capacity = value.shape[0]
    if 4 * size > 3 * capacity:  # too many lie within the error of the k-th: keep the best half
        spilt[slot] = True
        cut[slot] = np.float32(kth_largest(value[:size], capacity // 2))
        size = min(_drop(value, where, size, cut[slot]), capacity // 2)
    count[slot] = size
    full[slot] = min(capacity, 2 * size + 32)
    return cut[slot]


@jit(fastmath={"nnan", "nsz", "reassoc"}, inline="never")
def largest(row: np.ndarray, first: int, last: int) -> float:
    """Largest of ``row[first:last]``, in a loop that compiles to vector instructions."""
    result = row[first]
    for c in range(first + 1, last):
        result = max(result, row[c])
    return result


@jit(fastmath={"nnan", "nsz", "reassoc"}, inline="never")
def _largest_above(row: np.ndarray, bar: np.ndarray, first: int, last: int, start: int) -> float:
    """Largest of ``row[c] - bar[c - start]`` for c from ``first`` to before ``last``, in vector instructions."""
    result = row[first] - bar[first - start]
    for c in range(first + 1, last):
        result = max(result, row[c] - bar[c - start])
    return result


@jit()
def offer_rows(
    tile: np.ndarray,
    row_ids: np.ndarray,
    column_ids: np.ndarray,
    origin: int,
    value: np.ndarray,
    where: np.ndarray,
    count: np.ndarray,
    cut: np.ndarray,
    full: np.ndarray,
    spilt: np.ndarray,
    need: int,
    margin: float,
    relative: float,
    start: int,
    stop: int,
) -> None:
    """Adds the columns of a tile to the candidates of its rows, but no crop to itself.

    Args:
        tile: ``(B, W)`` float32 approximate similarities.
        row_ids: ``(B,)`` int32 crop of each row of the tile.
        column_ids: ``(W,)`` int32 crop of each column of the tile.
        origin: Crop of the first buffer.
        value: Buffers, with the five arrays that follow (see the module).
        where: Crop of each candidate.
        count: Number of candidates.
        cut: Lowest similarity to keep.
        full: Number of candidates to thin out at.
        spilt: Whether candidates were dropped for lack of room.
        need: Neighbours wanted per crop, at least 1.
        margin: Part of the error bound that does not depend on the similarity.
        relative: Part of the error bound per unit of similarity.
        start: First row of the tile to process.
        stop: One past the last row.
    """
    width = tile.shape[1]
    for r in range(start, stop):
        row = row_ids[r]
        slot = row - origin
        bar = cut[slot]
        for first in range(0, width, LANES):
            last = min(first + LANES, width)
            if largest(tile[r], first, last) >= bar:
                for c in range(first, last):
                    if tile[r, c] >= bar and column_ids[c] != row:
                        if count[slot] == full[slot]:
                            bar = _thin_out(
                                value[slot], where[slot], count, cut, full, spilt, slot, need, margin, relative
                            )
                            if tile[r, c] < bar:
                                continue
                        value[slot, count[slot]] = tile[r, c]
                        where[slot, count[slot]] = column_ids[c]
                        count[slot] += 1


@jit()
def offer_columns(
    tile: np.ndarray,
    row_ids: np.ndarray,
    column_ids: np.ndarray,
    origin: int,
    value: np.ndarray,
    where: np.ndarray,
    count: np.ndarray,
    cut: np.ndarray,
    full: np.ndarray,
    spilt: np.ndarray,
    need: int,
    margin: float,
    relative: float,
    start: int,
    stop: int,
) -> None:
    """Adds the rows of a tile to the candidates of its columns ``start`` to ``stop``: the mirrored pairs of a product.

    The arguments are those of :func:`offer_rows`, with ``start`` and ``stop`` for columns.
    """
    bar = np.empty(stop - start, np.float32)
    for c in range(start, stop):
        bar[c - start] = cut[column_ids[c] - origin]
    for r in range(tile.shape[0]):
        for first in range(start, stop, LANES):
            last = min(first + LANES, stop)
            if _largest_above(tile[r], bar, first, last, start) >= 0:
                for c in range(first, last):
                    if tile[r, c] >= bar[c - start] and row_ids[r] != column_ids[c]:
                        slot = column_ids[c] - origin
                        if count[slot] == full[slot]:
                            bar[c - start] = _thin_out(
                                value[slot], where[slot], count, cut, full, spilt, slot, need, margin, relative
                            )
                            if tile[r, c] < bar[c - start]:
                                continue
                        value[slot, count[slot]] = tile[r, c]
                        where[slot, count[slot]] = row_ids[r]
                        count[slot] += 1


@jit()
def _write_nearest(
    data: np.ndarray,
    norm: np.ndarray | None,
    i: int,
    candidates: np.ndarray,
    indices: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Fills a row of the result: crop i itself, then the candidates by exact distance, ties by index."""
    indices[0] = i
    distances[0] = 0.0
    columns = np.sort(candidates)
    exact = np.empty(columns.shape[0], np.float32)
    for t in range(columns.shape[0]):
        exact[t] = pair_distance(data, norm, i, columns[t])
    # the bits of floats >= 0 sort as the floats do; the low 32 bits are the position, which ascends with the index
    bits = exact.view(np.int32)
    key = np.empty(columns.shape[0], np.int64)
    for t in range(columns.shape[0]):
        key[t] = (np.int64(bits[t]) << 32) | t
    key = np.sort(key)
    for t in range(indices.shape[0] - 1):
        position = key[t] & 0xFFFFFFFF
        indices[t + 1] = columns[position]
        distances[t + 1] = exact[position]


@jit()
def finish_rows(
    data: np.ndarray,
    norm: np.ndarray | None,
    origin: int,
    value: np.ndarray,
    where: np.ndarray,
    count: np.ndarray,
    need: int,
    margin: float,
    relative: float,
    indices: np.ndarray,
    distances: np.ndarray,
    start: int,
    stop: int,
) -> int:
    """Writes the neighbours of crops with enough candidates: the candidates by exact distance.

    Args:
        data: ``(N, D)`` ``data`` of :class:`~resight.clustering.UnitRows`.
        norm: ``norm`` of the same rows.
        origin: Crop of the first buffer.
        value: ``(R, C)`` similarities of the candidates.
        where: ``(R, C)`` crops of the candidates.
        count: ``(R,)`` numbers of candidates.
        need: Neighbours wanted per crop.
        margin: Part of the error bound that does not depend on the similarity.
        relative: Part of the error bound per unit of similarity.
        indices: ``(N, k)`` int32, written.
        distances: ``(N, k)`` float32, written.
        start: First buffer to process.
        stop: One past the last buffer.

    Returns:
        Number of exact distances computed.
    """
    computed = 0
    for slot in range(start, stop):
        size = count[slot]
        if size < indices.shape[1] - 1:
            continue
        if size > need > 0:
            cut = np.float32(threshold(kth_largest(value[slot, :size], need), margin, relative))
            size = _drop(value[slot], where[slot], size, cut)
        i = origin + slot
        _write_nearest(data, norm, i, where[slot, :size], indices[i], distances[i])
        computed += size
    return computed


@jit()
def furthest_rows(
    data: np.ndarray,
    norm: np.ndarray | None,
    origin: int,
    where: np.ndarray,
    count: np.ndarray,
    furthest: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Writes the largest exact distance between a crop and its candidates, for the buffers ``start`` to ``stop``."""
    for slot in range(start, stop):
        largest = np.float32(0.0)
        for t in range(count[slot]):
            largest = max(largest, np.float32(pair_distance(data, norm, origin + slot, where[slot, t])))
        furthest[origin + slot] = largest


@jit()
def search_rows(
    data: np.ndarray,
    norm: np.ndarray | None,
    tile: np.ndarray,
    row_ids: np.ndarray,
    margin: float,
    indices: np.ndarray,
    distances: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Writes the nearest neighbours of the crops of a tile that has all crops as columns; buffers grow as needed.

    Args:
        data: ``(N, D)`` ``data`` of :class:`~resight.clustering.UnitRows`.
        norm: ``norm`` of the same rows.
        tile: ``(B, N)`` float32 similarities, each within ``margin / 2`` of the true one.
        row_ids: ``(B,)`` crop of each row of the tile.
        margin: Twice the error bound: a true neighbour's similarity is at most this far below the k-th largest one.
        indices: ``(B, k)`` int32, written.
        distances: ``(B, k)`` float32, written.
        start: First row of the tile to process.
        stop: One past the last row.
    """
    num_points = tile.shape[1]
    need = indices.shape[1] - 1
    capacity = 4 * need + 256
    value = np.empty(capacity, np.float32)
    where = np.empty(capacity, np.int32)
    for r in range(start, stop):
        i = row_ids[r]
        count = 0
        cut = np.float32(-np.inf)
        for j in range(num_points):
            s = tile[r, j]
            if s >= cut and j != i and need > 0:
                if count == capacity:
                    cut = np.float32(kth_largest(value, need) - margin)
                    count = _drop(value, where, count, cut)
                    if 2 * count > capacity:
                        capacity *= 2
                        value = grown(value, count, capacity)
                        where = grown(where, count, capacity)
                    if s < cut:
                        continue
                value[count] = s
                where[count] = j
                count += 1
        if count > need > 0:
            count = _drop(value, where, count, np.float32(kth_largest(value[:count], need) - margin))
        _write_nearest(data, norm, i, where[:count], indices[r], distances[r])


@jit()
def furthest_of_tile(
    data: np.ndarray,
    norm: np.ndarray | None,
    tile: np.ndarray,
    row_ids: np.ndarray,
    margin: float,
    furthest: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Writes the largest exact distance of rows ``start`` to ``stop`` of a tile that has all crops as columns."""
    for r in range(start, stop):
        least = tile[r].min()
        largest = np.float32(0.0)
        for j in range(tile.shape[1]):
            if tile[r, j] <= least + margin:
                largest = max(largest, np.float32(pair_distance(data, norm, row_ids[r], j)))
        furthest[r] = largest

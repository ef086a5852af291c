"""Compiled inner loops of the clustering room (numba); import this module only inside functions.

Every kernel works on a range of rows and releases the interpreter lock, so :func:`map_rows` can run
ranges on a pool of ordinary threads. No kernel shares an output with another, and each sum is taken in
one fixed order: the result does not depend on the number of threads or on how rows are cut into ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numpy as np

T = TypeVar("T")


def _jit(**options: Any) -> Callable[[Any], Any]:
    """``numba.njit`` that releases the lock and caches on disk where some folder can be written."""

    def wrap(function: Any) -> Any:
        try:
            return numba.njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache folder is writable
            return numba.njit(nogil=True, **options)(function)

    return wrap


def map_rows(work: Callable[[int, int], T], num_rows: int, *, chunk: int) -> Iterator[T]:
    """Yield ``work(start, stop)`` for consecutive ranges of rows, in order, computed in parallel.

    Uses as many threads as ``numba.get_num_threads()`` says (``numba.set_num_threads`` and the variable
    ``NUMBA_NUM_THREADS`` are obeyed). Only a few ranges are in flight at once.
    """
    ranges = [(start, min(start + chunk, num_rows)) for start in range(0, num_rows, chunk)]
    threads = min(numba.get_num_threads(), len(ranges))
    if threads <= 1:
        for start, stop in ranges:
            yield work(start, stop)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="resight-rows") as pool:
        pending: list[Any] = []
        for start, stop in ranges:
            pending.append(pool.submit(work, start, stop))
            if len(pending) >= 4 * threads:
                yield pending.pop(0).result()
        for future in pending:
            yield future.result()


@_jit(fastmath={"reassoc", "contract"})
def squared_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Euclidean distance of two float32 vectors, summed in float64: exactly symmetric, 0 for equal vectors."""
    total = 0.0
    for t in range(a.shape[0]):
        difference = np.float64(a[t]) - np.float64(b[t])
        total += difference * difference
    return total


@_jit()
def grown(array: np.ndarray, size: int, capacity: int) -> np.ndarray:
    """A longer array that starts with the first ``size`` entries (a loop: it compiles faster than a slice)."""
    result = np.empty(capacity, array.dtype)
    for t in range(size):
        result[t] = array[t]
    return result


@_jit()
def kth_largest(values: np.ndarray, rank: int) -> float:
    """The ``rank``-th largest (1: the largest) of float32 values, by quickselect; they are left untouched."""
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


@_jit()
def select_neighbours(
    features: np.ndarray,
    similarity: np.ndarray,
    first_row: int,
    start: int,
    stop: int,
    margin: float,
    indices: np.ndarray,
    distances: np.ndarray,
) -> None:
    """Exact nearest neighbours of rows ``start..stop`` of a block, given approximate similarities.

    Args:
        features: ``(N, D)`` float32, L2-normalised.
        similarity: ``(B, N)`` float32 inner products, each within ``margin / 2`` of the true one.
        first_row: Row of ``features`` that row 0 of ``similarity`` belongs to.
        start: First row of the block to do.
        stop: One past the last.
        margin: What may separate a true neighbour from the k-th best approximate similarity.
        indices: ``(N, k)`` int32, written.
        distances: ``(N, k)`` float32, written.
    """
    num_points = features.shape[0]
    k = indices.shape[1]
    need = k - 1
    capacity = 4 * need + 256
    value = np.empty(capacity, np.float32)
    where = np.empty(capacity, np.int32)
    for row in range(start, stop):
        i = first_row + row
        indices[i, 0] = i
        distances[i, 0] = 0.0
        if need == 0:
            continue
        count = 0
        cut = np.float32(-np.inf)
        for j in range(num_points):
            s = similarity[row, j]
            if s >= cut and j != i:
                if count == capacity:
                    cut = np.float32(kth_largest(value, need) - margin)
                    kept = 0
                    for t in range(count):
                        if value[t] >= cut:
                            value[kept] = value[t]
                            where[kept] = where[t]
                            kept += 1
                    count = kept
                    if 2 * count > capacity:
                        capacity *= 2
                        value = grown(value, count, capacity)
                        where = grown(where, count, capacity)
                    if s < cut:
                        continue
                value[count] = s
                where[count] = j
                count += 1
        if count > need:
            cut = np.float32(kth_largest(value[:count], need) - margin)
        exact = np.empty(count, np.float32)
        kept = 0
        for t in range(count):
            if value[t] >= cut:
                where[kept] = where[t]
                exact[kept] = squared_distance(features[i], features[where[t]])
                kept += 1
        # bits of floats >= 0 order as the floats do; below them the position, which grows with the index
        bits = exact.view(np.int32)
        key = np.empty(kept, np.int64)
        for t in range(kept):
            key[t] = (np.int64(bits[t]) << 32) | t
        key = np.sort(key)
        for t in range(need):
            position = key[t] & 0xFFFFFFFF
            indices[i, t + 1] = where[position]
            distances[i, t + 1] = exact[position]


@_jit()
def reciprocal_rows(indices: np.ndarray, start: int, stop: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Reciprocal neighbours ``{j in R(i): i in R(j)}`` with ``R`` cut to its first ``depth`` columns.

    Returns:
        ``(B,)`` counts and ``(B, depth)`` int32 members in order of distance (the rest of a row is unset).
    """
    counts = np.zeros(stop - start, np.int32)
    members = np.empty((stop - start, depth), np.int32)
    for i in range(start, stop):
        count = 0
        for t in range(depth):
            j = indices[i, t]
            for u in range(depth):
                if indices[j, u] == i:
                    members[i - start, count] = j
                    count += 1
                    break
        counts[i - start] = count
    return counts, members


@_jit()
def weight_rows(
    features: np.ndarray,
    indices: np.ndarray,
    distances: np.ndarray,
    full_counts: np.ndarray,
    full: np.ndarray,
    half_counts: np.ndarray,
    half: np.ndarray,
    start: int,
    stop: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of V: the expanded reciprocal set of each crop, weighted by ``exp(-distance)``, summing to 1.

    Args:
        features: ``(N, D)`` float32, L2-normalised: some members of the set are not among the neighbours.
        indices: ``(N, k)`` neighbours R(i).
        distances: ``(N, k)`` their squared distances.
        full_counts: ``(N,)`` sizes of N(i).
        full: ``(N, k1)`` members of N(i).
        half_counts: ``(N,)`` sizes of the half-depth sets.
        half: ``(N, h)`` members of the half-depth sets.
        start: First row to do.
        stop: One past the last.

    Returns:
        ``(B,)`` counts, then the columns (ascending within a row, int32) and values (float64) of all rows.
    """
    num_points, k = indices.shape
    counts = np.zeros(stop - start, np.int64)
    mark = np.full(num_points, -1, np.int64)  # 2i: in the expansion of i, 2i + 1: in N(i)
    weight = np.zeros(num_points, np.float64)
    row = np.empty(4096, np.int64)
    columns = np.empty(max(1, (stop - start) * k), np.int32)
    values = np.empty(columns.shape[0], np.float64)
    filled = 0
    for i in range(start, stop):
        size = full_counts[i]
        if row.shape[0] < size * (1 + half.shape[1]):
            row = np.empty(size * (1 + half.shape[1]), np.int64)
        for t in range(size):
            j = full[i, t]
            row[t] = j
            mark[j] = 2 * i + 1
        for t in range(full_counts[i]):
            c = full[i, t]
            common = 0
            for u in range(half_counts[c]):
                if mark[half[c, u]] == 2 * i + 1:
                    common += 1
            if 3 * common > 2 * half_counts[c]:
                for u in range(half_counts[c]):
                    j = half[c, u]
                    if mark[j] < 2 * i:
                        mark[j] = 2 * i
                        row[size] = j
                        size += 1
        for t in range(size):
            weight[row[t]] = -1.0
        for t in range(k):
            if mark[indices[i, t]] >= 2 * i:
                weight[indices[i, t]] = np.exp(-np.float64(distances[i, t]))
        members = np.sort(row[:size])
        total = 0.0
        for t in range(size):
            j = members[t]
            if weight[j] < 0.0:
                weight[j] = np.exp(-np.float64(np.float32(squared_distance(features[i], features[j]))))
            total += weight[j]
        if filled + size > columns.shape[0]:
            room = 2 * columns.shape[0] + size
            columns = grown(columns, filled, room)
            values = grown(values, filled, room)
        for t in range(size):
            columns[filled] = members[t]
            values[filled] = weight[members[t]] / total
            filled += 1
        counts[i - start] = size
    return counts, grown(columns, filled, filled), grown(values, filled, filled)


@_jit()
def mean_rows(
    indptr: np.ndarray, columns: np.ndarray, values: np.ndarray, indices: np.ndarray, depth: int, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Local expansion: row i becomes the mean of the sparse rows of its first ``depth`` neighbours.

    Returns:
        Counts, columns and values as :func:`weight_rows` does.
    """
    num_points = indices.shape[0]
    counts = np.zeros(stop - start, np.int64)
    seen = np.full(num_points, -1, np.int64)
    total = np.zeros(num_points, np.float64)
    touched = np.empty(num_points, np.int64)
    room = 0
    for i in range(start, stop):
        for t in range(depth):
            room += indptr[indices[i, t] + 1] - indptr[indices[i, t]]
    new_columns = np.empty(room, np.int32)
    new_values = np.empty(room, np.float64)
    filled = 0
    for i in range(start, stop):
        size = 0
        for t in range(depth):
            c = indices[i, t]
            for p in range(indptr[c], indptr[c + 1]):
                m = columns[p]
                if seen[m] != i:
                    seen[m] = i
                    total[m] = 0.0
                    touched[size] = m
                    size += 1
                total[m] += values[p]
        members = np.sort(touched[:size])
        for t in range(size):
            new_columns[filled] = members[t]
            new_values[filled] = total[members[t]] / depth
            filled += 1
        counts[i - start] = size
    return counts, grown(new_columns, filled, filled), grown(new_values, filled, filled)


@_jit()
def jaccard_rows(
    ids: np.ndarray,
    indptr: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    inverse_indptr: np.ndarray,
    inverse_rows: np.ndarray,
    inverse_values: np.ndarray,
    max_distance: float,
    start: int,
    stop: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the Jaccard distance that are below 1 and at most ``max_distance``.

    For every entry of row i the inverted index says which rows share it; each pair's sum of minima is
    taken in float64 over ascending columns, so ``J[i, j]`` and ``J[j, i]`` are the same number.

    Args:
        ids: ``(M,)`` which crops the rows of V belong to.
        indptr: ``(M + 1,)`` of V by rows, with ``columns`` and ``values``.
        columns: Of V by rows, ascending within a row.
        values: Of V by rows.
        inverse_indptr: ``(N + 1,)`` of V by columns, with ``inverse_rows`` and ``inverse_values``.
        inverse_rows: Of V by columns.
        inverse_values: Of V by columns.
        max_distance: Largest distance to keep, compared in float32.
        start: First row to do.
        stop: One past the last.

    Returns:
        Counts, columns (ascending within a row) and float32 distances.
    """
    num_points = inverse_indptr.shape[0] - 1
    limit = np.float32(max_distance)
    counts = np.zeros(stop - start, np.int64)
    shared = np.zeros(num_points, np.float64)
    touched = np.empty(num_points, np.int64)
    out_columns = np.empty(max(64, 64 * (stop - start)), np.int32)
    out_values = np.empty(out_columns.shape[0], np.float32)
    distance = np.empty(num_points, np.float32)
    filled = 0
    for i in range(start, stop):
        size = 0
        for p in range(indptr[i], indptr[i + 1]):
            m = columns[p]
            own = values[p]
            for q in range(inverse_indptr[m], inverse_indptr[m + 1]):
                j = inverse_rows[q]
                if shared[j] == 0.0:
                    touched[size] = j
                    size += 1
                shared[j] += min(own, inverse_values[q])
        kept = 0
        for t in range(size):
            j = touched[t]
            s = shared[j]
            shared[j] = 0.0
            d = np.float32(1.0 - s / (2.0 - s))
            if d < np.float32(1e-12) or j == ids[i]:  # equal rows, but for the rounding of their sums
                d = np.float32(0.0)
            if d < np.float32(1.0) and d <= limit:
                distance[j] = d
                touched[kept] = j
                kept += 1
        members = np.sort(touched[:kept])
        if filled + kept > out_columns.shape[0]:
            room = 2 * out_columns.shape[0] + kept
            out_columns = grown(out_columns, filled, room)
            out_values = grown(out_values, filled, room)
        for t in range(kept):
            out_columns[filled] = members[t]
            out_values[filled] = distance[members[t]]
            filled += 1
        counts[i - start] = kept
    return counts, grown(out_columns, filled, filled), grown(out_values, filled, filled)

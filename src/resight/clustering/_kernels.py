"""Compiled inner loops of the clustering room (numba); import this module only inside functions.

Every kernel works on a range of rows and releases the interpreter lock, so :func:`map_rows` can run
ranges on a pool of ordinary threads. No kernel shares an output with another, and each sum is taken in
one fixed order: the result does not depend on the number of threads or on how rows are cut into ranges.
"""

from __future__ import annotations

import numpy as np

from resight.clustering.search._kernels import grown, pair_distance
from resight.common.kernels import jit


@jit()
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


@jit()
def overlap_rows(ours: np.ndarray, theirs: np.ndarray, out: np.ndarray, start: int, stop: int) -> None:
    """Shared members over all members of two sets a row, ``(N, k)`` each without repeats, into ``out`` ``(N,)``."""
    k = ours.shape[1]
    for i in range(start, stop):
        shared = 0
        for t in range(k):
            j = ours[i, t]
            for u in range(k):
                if theirs[i, u] == j:
                    shared += 1
                    break
        out[i] = shared / (2 * k - shared)


@jit()
def weight_rows(
    data: np.ndarray,
    norm: np.ndarray | None,
    indices: np.ndarray,
    distances: np.ndarray,
    full_counts: np.ndarray,
    full: np.ndarray,
    half_counts: np.ndarray,
    half: np.ndarray,
    scale: np.ndarray | None,
    start: int,
    stop: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of V: the expanded reciprocal set of each crop, weighted by ``exp(-distance)``, summing to 1.

    Args:
        data: ``(N, D)`` of :class:`~resight.clustering.UnitRows`: not all members are among the neighbours.
        norm: Its ``norm``.
        indices: ``(N, k)`` neighbours R(i).
        distances: ``(N, k)`` their squared distances.
        full_counts: ``(N,)`` sizes of N(i).
        full: ``(N, k1)`` members of N(i).
        half_counts: ``(N,)`` sizes of the half-depth sets.
        half: ``(N, h)`` members of the half-depth sets.
        scale: ``(N,)`` what the distances of each row are divided by first, or ``None``.
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
        unit = 1.0 if scale is None else np.float64(scale[i])
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
                weight[indices[i, t]] = np.exp(-np.float64(distances[i, t]) / unit)
        members = np.sort(row[:size])
        total = 0.0
        for t in range(size):
            j = members[t]
            if weight[j] < 0.0:
                weight[j] = np.exp(-np.float64(np.float32(pair_distance(data, norm, i, j))) / unit)
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


@jit()
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


@jit()
def jaccard_rows(
    indptr: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    inverse_indptr: np.ndarray,
    inverse_rows: np.ndarray,
    inverse_values: np.ndarray,
    position: np.ndarray | None,
    max_distance: float,
    start: int,
    stop: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the Jaccard distance that are below 1 and at most ``max_distance``.

    For every entry of row i the inverted index says which rows share it; the sum of minima of a pair is taken in
    float64, over ascending columns, so that a distance which ties with the threshold is not parted from it by rounding.

    Args:
        indptr: ``(M + 1,)`` of the rows of V to do, with ``columns`` and ``values``.
        columns: Ascending within a row.
        values: float64.
        inverse_indptr: ``(N + 1,)`` of the inverted index of the whole V, with ``inverse_rows`` and ``inverse_values``.
        inverse_rows: Ascending within a list.
        inverse_values: float64.
        position: Where in the inverted index each entry of V stands: then only pairs ``j > i`` are done. ``None``
            does all pairs of the rows given.
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
    touched = np.empty(num_points + 1, np.int32)
    out_columns = np.empty(max(64, 16 * (stop - start)), np.int32)
    out_values = np.empty(out_columns.shape[0], np.float32)
    distance = np.empty(num_points, np.float32)
    filled = 0
    for i in range(start, stop):
        size = 0
        for p in range(indptr[i], indptr[i + 1]):
            m = columns[p]
            own = values[p]
            first = inverse_indptr[m] if position is None else position[p] + 1
            for q in range(first, inverse_indptr[m + 1]):
                j = inverse_rows[q]
                touched[size] = j  # kept where it is new: no branch to guess
                size += shared[j] == 0.0
                shared[j] += min(own, inverse_values[q])
        kept = 0
        for t in range(size):
            j = touched[t]
            s = shared[j]
            shared[j] = 0.0
            d = np.float32(1.0 - s / (2.0 - s))
            if d < np.float32(1e-12):  # equal rows, but for the rounding of their sums
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


@jit()
def mirror(counts: np.ndarray, columns: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Symmetric sparse rows with a diagonal of zeros from the part above the diagonal; columns ascending.

    Returns:
        ``(N + 1,)`` starts of the rows, int32 columns and the values.
    """
    num_points = counts.shape[0]
    starts = np.zeros(num_points + 1, np.int64)
    for i in range(num_points):
        starts[i + 1] += counts[i] + 1
    for p in range(columns.shape[0]):
        starts[columns[p] + 1] += 1
    for i in range(num_points):
        starts[i + 1] += starts[i]
    place = starts[:-1].copy()
    all_columns = np.empty(starts[num_points], np.int32)
    all_values = np.empty(starts[num_points], values.dtype)
    p = 0
    for i in range(num_points):  # when row i comes up, what lies before its diagonal has been written
        q = place[i]
        all_columns[q] = i
        all_values[q] = 0
        for t in range(counts[i]):
            j = columns[p]
            all_columns[q + 1 + t] = j
            all_values[q + 1 + t] = values[p]
            all_columns[place[j]] = i
            all_values[place[j]] = values[p]
            place[j] += 1
            p += 1
    return starts, all_columns, all_values


@jit()
def density_labels(
    indptr: np.ndarray, columns: np.ndarray, distances: np.ndarray, eps: float, min_samples: int
) -> np.ndarray:
    """DBSCAN on the symmetric sparse rows of :func:`resight.clustering.dbscan`, by union of core crops' sets."""
    num_points = indptr.shape[0] - 1
    core = np.zeros(num_points, np.bool_)
    for i in range(num_points):
        near = 1
        for p in range(indptr[i], indptr[i + 1]):
            near += distances[p] <= eps and columns[p] != i
        core[i] = near >= min_samples
    parent = np.arange(num_points)
    for i in range(num_points):
        if core[i]:
            for p in range(indptr[i], indptr[i + 1]):
                j = columns[p]
                if j < i and distances[p] <= eps and core[j]:
                    a = i
                    while parent[a] != a:
                        parent[a] = parent[parent[a]]
                        a = parent[a]
                    b = j
                    while parent[b] != b:
                        parent[b] = parent[parent[b]]
                        b = parent[b]
                    if a < b:  # the lowest crop of a set stands for it
                        parent[b] = a
                    else:
                        parent[a] = b
    labels = np.full(num_points, -1, np.int64)
    clusters = 0
    for i in range(num_points):
        if core[i]:
            a = i
            while parent[a] != a:
                a = parent[a]
            if a == i:  # numbered by the lowest core crop
                labels[i] = clusters
                clusters += 1
            else:
                labels[i] = labels[a]
    for i in range(num_points):
        if not core[i]:
            lowest = clusters
            for p in range(indptr[i], indptr[i + 1]):
                if distances[p] <= eps and core[columns[p]]:
                    lowest = min(lowest, labels[columns[p]])
            if lowest < clusters:
                labels[i] = lowest
    return labels

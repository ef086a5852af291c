"""Compiled inner loops of the Jaccard distance, DBSCAN and cross agreement (numba).

Import this module only inside functions. Most loops work on a range of rows and release the interpreter lock, so that
ranges can run on threads (:func:`resight.common.kernels.map_rows`). No two ranges write the same output, and every sum
is taken in a fixed order: results depend neither on the number of threads nor on the ranges.
"""

from __future__ import annotations

import numpy as np

from resight.clustering.search._rows import grown, pair_distance
from resight.common.kernels import jit


@jit()
def reciprocal_rows(indices: np.ndarray, start: int, stop: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Reciprocal neighbours ``{j in R(i): i in R(j)}`` of rows ``start`` to ``stop``.

    Args:
        indices: ``(N, k)`` int32 neighbours, nearest first.
        start: First row.
        stop: One past the last row.
        depth: Length of R, at most k.

    Returns:
        ``(stop - start,)`` int32 counts, and ``(stop - start, depth)`` int32 members, nearest first; what follows a
        row's members is unset.
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
    """Writes ``|A ∩ B| / |A ∪ B|`` of the sets A and B of each row.

    Args:
        ours: ``(N, k)`` int32 members of A, without repeats.
        theirs: ``(N, k)`` int32 members of B, without repeats.
        out: ``(N,)`` float32, written.
        start: First row.
        stop: One past the last row.
    """
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
    """Rows of V: weights ``exp(-distance)`` of each crop's expanded reciprocal set, divided by their sum.

    Args:
        data: ``(N, D)`` ``data`` of :class:`~resight.clustering.UnitRows`, for members that are not among the
            neighbours.
        norm: ``norm`` of the same rows.
        indices: ``(N, k)`` int32 neighbours R(i).
        distances: ``(N, k)`` float32 squared distances of the neighbours.
        full_counts: ``(N,)`` sizes of N(i).
        full: ``(N, k)`` members of N(i).
        half_counts: ``(N,)`` sizes of N½(i).
        half: ``(N, h)`` members of N½(i).
        scale: ``(N,)`` divisors of each row's distances, or ``None``.
        start: First row.
        stop: One past the last row.

    Returns:
        ``(stop - start,)`` int64 entries per row, then int32 columns, ascending within a row, and float64 values of all
        rows.
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
def _rows_to_average(
    first: np.ndarray, first_depth: int, second: np.ndarray | None, second_depth: int, i: int, chosen: np.ndarray
) -> int:
    """Writes the first neighbours of crop i in both lists, and returns how many there are."""
    used = 0
    for t in range(first_depth):
        if first[i, t] >= 0:
            chosen[used] = first[i, t]
            used += 1
    if second is not None:
        for t in range(second_depth):
            if second[i, t] >= 0:
                chosen[used] = second[i, t]
                used += 1
    return used


@jit()
def mean_rows(
    indptr: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    first: np.ndarray,
    first_depth: int,
    second: np.ndarray | None,
    second_depth: int,
    start: int,
    stop: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replaces row i of V by the mean of the rows of its first neighbours in one or two lists.

    Args:
        indptr: ``(N + 1,)`` row starts of V, a CSR matrix.
        columns: Columns of V.
        values: Values of V.
        first: ``(N, k)`` int32 neighbours; those below 0 are skipped, in both lists.
        first_depth: Neighbours of this list that count, at most k; the crop itself is one if the list holds it.
        second: ``(N, l)`` int32 further neighbours, or ``None``.
        second_depth: Neighbours of that list that count; 0 without one.
        start: First row.
        stop: One past the last row.

    Returns:
        ``(stop - start,)`` int64 entries per row, then int32 columns, ascending within a row, and float64 values of all
        rows.
    """
    num_points = first.shape[0]
    counts = np.zeros(stop - start, np.int64)
    seen = np.full(num_points, -1, np.int64)
    total = np.zeros(num_points, np.float64)
    touched = np.empty(num_points, np.int64)
    chosen = np.empty(first_depth + second_depth, np.int32)
    room = 0
    for i in range(start, stop):
        for t in range(_rows_to_average(first, first_depth, second, second_depth, i, chosen)):
            room += indptr[chosen[t] + 1] - indptr[chosen[t]]
    new_columns = np.empty(room, np.int32)
    new_values = np.empty(room, np.float64)
    filled = 0
    for i in range(start, stop):
        size = 0
        used = _rows_to_average(first, first_depth, second, second_depth, i, chosen)
        for t in range(used):
            c = chosen[t]
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
            new_values[filled] = total[members[t]] / used
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
    """Jaccard distances below 1 and at most ``max_distance`` of some rows.

    The inverted index gives the rows that share an entry with row i. The minima of a pair are summed in float64 over
    ascending columns, so that rounding does not separate equal distances.

    Args:
        indptr: ``(M + 1,)`` row starts of the M rows of V to compare, a CSR matrix.
        columns: Columns of these rows, ascending within a row.
        values: Values of these rows, float64.
        inverse_indptr: ``(N + 1,)`` column starts of the inverted index of the whole V.
        inverse_rows: Rows of the inverted index, ascending within a column.
        inverse_values: Values of the inverted index, float64.
        position: Place of each entry of V in the inverted index: then only pairs ``j > i`` are compared. ``None``
            compares the M rows with all rows.
        max_distance: Largest distance to keep, compared in float32.
        start: First of the M rows.
        stop: One past the last row.

    Returns:
        ``(stop - start,)`` int64 distances per row, then int32 columns, ascending within a row, and float32 distances
        of all rows.
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
                touched[size] = j  # overwritten unless j is new, which saves a branch
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
    """A symmetric CSR matrix with a stored diagonal of zeros, from the part above the diagonal.

    Args:
        counts: ``(N,)`` entries per row.
        columns: Columns, ascending within a row and greater than the row.
        values: Values.

    Returns:
        ``(N + 1,)`` row starts, int32 columns, ascending within a row, and values.
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
    for i in range(num_points):  # by now the rows before i have written what lies before the diagonal of row i
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
    """DBSCAN labels from a symmetric CSR matrix of distances; core crops within ``eps`` are joined by union-find.

    Args:
        indptr: ``(N + 1,)`` row starts.
        columns: Columns.
        distances: Distances; a pair that is not stored is too far apart.
        eps: Largest distance between neighbours.
        min_samples: Number of neighbours that make a core crop, the crop itself counted.

    Returns:
        ``(N,)`` int64 labels, -1 for outliers, numbered by the lowest core crop.
    """
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
                    if a < b:  # the lowest crop of a set is its root
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

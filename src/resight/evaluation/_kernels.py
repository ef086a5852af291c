"""Compiled inner loops of the evaluation (numba); import this module only inside functions.

Every loop works on a range of rows and releases the interpreter lock. No two ranges write the same output, so ranges
can run on threads (:func:`resight.common.kernels.run_rows`).
"""

from __future__ import annotations

import numpy as np

from resight.common.kernels import jit
from resight.common.unit import unit_number

#: Up to this many right answers of one query are each compared with the whole row of distances. More are sorted, and
#: each distance of the row is looked up among them.
_FEW = 1024


@jit(fastmath={"reassoc", "contract"})
def _squared_length(row: np.ndarray) -> float:
    total = 0.0
    for t in range(row.shape[0]):
        total += np.float64(row[t]) * np.float64(row[t])
    return total


@jit()
def normalise_rows(
    raw: np.ndarray, target: np.ndarray, factors: np.ndarray, unit: np.ndarray, mark: np.ndarray, start: int, stop: int
) -> None:
    """Divides rows by their length, and hashes the bits of the results.

    Stops at the first row that is all zeros or whose squared length is not finite, and sets its ``target`` to -2.

    Args:
        raw: ``(B, D)`` float32 or float64.
        target: ``(B,)`` which row of ``unit`` each row goes to; -1 only checks the row.
        factors: ``(D,)`` uint64, odd.
        unit: ``(M, D)`` float32, written.
        mark: ``(M,)`` uint64 hashes, written.
        start: First row.
        stop: One past the last row.
    """
    mix = np.uint64(0x9E3779B97F4A7C15)
    for i in range(start, stop):
        length = np.sqrt(_squared_length(raw[i]))
        if not 0.0 < length < np.inf:
            target[i] = -2
            return
        to = target[i]
        if to < 0:
            continue
        for t in range(raw.shape[1]):
            # adding 0 makes -0 a 0, so that equal rows have equal bits
            unit[to, t] = unit_number(raw[i, t], length) + np.float32(0)
        bits = unit[to].view(np.uint32)
        total = np.uint64(0)
        for t in range(raw.shape[1]):
            # The high bits of the first product must reach the low ones: many floats end in zeros.
            word = np.uint64(bits[t]) * mix
            total += (word ^ (word >> np.uint64(32))) * factors[t]
        mark[to] = total


@jit(fastmath={"reassoc", "contract"})
def pair_cosines(
    rows: np.ndarray,
    row: np.ndarray,
    columns: np.ndarray,
    column: np.ndarray,
    out: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Inner products of pairs of rows, summed in float64: equal rows get equal products, in whichever block they are.

    Args:
        rows: ``(Q, D)`` float32.
        row: ``(P,)`` which of ``rows`` belongs to each pair.
        columns: ``(K, D)`` float32.
        column: ``(P,)`` which of ``columns`` belongs to each pair.
        out: ``(P,)`` float32, written.
        start: First pair.
        stop: One past the last pair.
    """
    for p in range(start, stop):
        a, b = rows[row[p]], columns[column[p]]
        total = 0.0
        for t in range(a.shape[0]):
            total += np.float64(a[t]) * np.float64(b[t])
        out[p] = total


@jit()
def _distance(cosine: float) -> float:
    return max(np.float32(2) - np.float32(2) * cosine, np.float32(0))


@jit()
def distances_from_cosines(cosines: np.ndarray, start: int, stop: int) -> None:
    """Replaces cosines in rows ``start`` to ``stop`` by distances ``max(0, 2 - 2 cos)``."""
    for i in range(start, stop):
        row = cosines[i]
        for j in range(row.shape[0]):
            row[j] = _distance(row[j])


@jit()
def _count_closer(row: np.ndarray, value: float, column: int) -> int:
    """How many entries of the row rank before ``value`` at ``column``: smaller ones, and equal ones further left."""
    left, rest = row[:column], row[column:]
    count = np.int32(0)  # 32 bits: as many lanes as the distances have
    for j in range(left.shape[0]):
        count = np.int32(count + np.int32(left[j] <= value))
    for j in range(rest.shape[0]):
        count = np.int32(count + np.int32(rest[j] < value))
    return count


@jit()
def _look_up_closer(row: np.ndarray, offset: int, values: np.ndarray, columns: np.ndarray, closer: np.ndarray) -> None:
    """Adds to ``closer`` the result of :func:`_count_closer` for each of many values, in one pass over the row."""
    # A stable sort: columns ascend, so equal values stay in the order of the gallery.
    order = np.argsort(values, kind="mergesort")
    value, column = values[order], columns[order]
    before = np.zeros(values.shape[0] + 1, np.int64)
    for j in range(row.shape[0]):
        d = row[j]
        low, high = 0, values.shape[0]
        while low < high:  # the first that j ranks before
            middle = (low + high) >> 1
            if value[middle] < d or (value[middle] == d and column[middle] <= j + offset):
                low = middle + 1
            else:
                high = middle
        before[low] += 1
    total = 0
    for t in range(values.shape[0]):
        total += before[t]
        closer[order[t]] += total


@jit()
def count_rows(
    distances: np.ndarray,
    offset: int,
    begins: np.ndarray,
    columns: np.ndarray,
    right: np.ndarray,
    values: np.ndarray,
    known: bool,
    twins: np.ndarray,
    twin_begins: np.ndarray,
    twin_ends: np.ndarray,
    closer: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Counts for each right answer how many crops of a block of the gallery rank before it.

    Args:
        distances: ``(B, W)`` distances from B queries to the W crops of the block; overwritten.
        offset: Gallery crop of column 0.
        begins: ``(B + 1,)`` where each query's crops begin among the P crops of the queries' identities.
        columns: ``(P,)`` those crops, ascending within a query.
        right: ``(P,)`` bool: whether the crop is a right answer; otherwise it is ignored.
        values: ``(P,)`` distances of the right answers. They are read where ``known``; otherwise the block must be the
            whole gallery, and they are taken from it and written.
        known: Whether ``values`` are given. Then they replace the block's distances of the right answers and of their
            duplicates, so that these have the same distance in every block.
        twins: ``(W,)`` columns of the block, ordered so that equal features stand together.
        twin_begins: ``(P,)`` where in ``twins`` the columns with the right answer's feature begin.
        twin_ends: ``(P,)`` one past the last of these columns.
        closer: ``(P,)`` int64 counts, added to.
        start: First query of the block to process.
        stop: One past the last query.
    """
    width = distances.shape[1]
    for i in range(start, stop):
        row = distances[i]
        first, last = begins[i], begins[i + 1]
        count = 0
        for p in range(first, last):
            if right[p]:
                count += 1
                if not known:
                    values[p] = row[columns[p] - offset]
                    continue
                for t in range(twin_begins[p], twin_ends[p]):
                    row[twins[t]] = values[p]
        if count == 0:
            continue
        for p in range(first, last):
            if not right[p] and 0 <= columns[p] - offset < width:
                row[columns[p] - offset] = np.inf
        if count <= _FEW:
            for p in range(first, last):
                if right[p]:
                    column = min(max(columns[p] - offset, 0), width)
                    closer[p] += _count_closer(row, values[p], column)
        else:
            chosen = np.flatnonzero(right[first:last]) + first
            found = np.zeros(count, np.int64)
            _look_up_closer(row, offset, values[chosen], columns[chosen], found)
            closer[chosen] += found


@jit()
def add_jaccard(
    indptr: np.ndarray,
    members: np.ndarray,
    weights: np.ndarray,
    inverse_indptr: np.ndarray,
    inverse_rows: np.ndarray,
    inverse_weights: np.ndarray,
    share: float,
    scale: np.ndarray,
    first: int,
    final: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Mixes the Jaccard distance into a block of distances, in place.

    Args:
        indptr: ``(Q + 1,)`` row starts of the queries' neighbour weights V, a CSR matrix.
        members: Column indices of that matrix.
        weights: Values of that matrix.
        inverse_indptr: ``(N + 1,)`` column starts of the gallery's neighbour weights, a CSC matrix.
        inverse_rows: Row indices of that matrix: gallery crops.
        inverse_weights: Values of that matrix.
        share: Weight of the original distance, lam; the Jaccard distance has the weight ``1 - share``.
        scale: ``(N,)`` float32 largest squared distance of each crop, queries first; original distances are divided by
            it.
        first: Query of row 0 of ``final``.
        final: ``(B, G)`` float32 squared distances, overwritten by the mixed distances.
        start: First row of ``final`` to process.
        stop: One past the last row.
    """
    size = final.shape[1]
    shared = np.zeros(size, np.float64)
    for i in range(start, stop):
        query = first + i
        for p in range(indptr[query], indptr[query + 1]):
            own = weights[p]
            for q in range(inverse_indptr[members[p]], inverse_indptr[members[p] + 1]):
                shared[inverse_rows[q]] += min(own, inverse_weights[q])
        row, factor = final[i], share / np.float64(scale[query])
        for j in range(size):
            s = shared[j]
            row[j] = (1.0 - share) * max(0.0, 1.0 - s / (2.0 - s)) + factor * row[j]
            shared[j] = 0.0

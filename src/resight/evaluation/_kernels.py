"""Compiled inner loops of the evaluation room (numba); import this module only inside functions.

As in :mod:`resight.clustering._kernels`, every kernel works on a range of rows, releases the interpreter lock and
shares no output with another, so that :func:`map_rows` can run ranges on threads.
"""

from __future__ import annotations

import numpy as np

from resight.common.kernels import jit
from resight.common.unit import unit_number

#: Right answers of one query that are each compared with the whole row; more are sorted, and each distance is looked up
#: among them.
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
    """Rows of length 1 and a hash of their bits.

    Args:
        raw: ``(B, D)`` floats.
        target: ``(B,)`` row of ``unit`` that each goes to; -1 for nowhere, it is only checked.
        factors: ``(D,)`` uint64, odd.
        unit: ``(M, D)`` float32, written.
        mark: ``(M,)`` uint64, written: equal for equal rows, and else different (64 bits, mixed).
        start: First row to do.
        stop: One past the last, or the first row that is not finite or all zero: ``target`` becomes -2 there.
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
    """Inner products of pairs, summed in float64: the same for equal rows, whatever else is asked for."""
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
    """``2 - 2 cos``, never negative, in place."""
    for i in range(start, stop):
        row = cosines[i]
        for j in range(row.shape[0]):
            row[j] = _distance(row[j])


@jit()
def _count_closer(row: np.ndarray, value: float, column: int) -> int:
    """Entries of the row that rank before ``value`` at ``column``: smaller, or equal and further left."""
    left, rest = row[:column], row[column:]
    count = np.int32(0)  # 32 bits: as many lanes as the distances have
    for j in range(left.shape[0]):
        count = np.int32(count + np.int32(left[j] <= value))
    for j in range(rest.shape[0]):
        count = np.int32(count + np.int32(rest[j] < value))
    return count


@jit()
def _look_up_closer(row: np.ndarray, offset: int, values: np.ndarray, columns: np.ndarray, closer: np.ndarray) -> None:
    """Add to ``closer`` what :func:`_count_closer` finds for each of many values, in one pass over the row."""
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
    """For each right answer, how many crops of a block of the gallery rank before it.

    Args:
        distances: ``(B, W)`` from queries to crops ``offset …`` of the gallery; overwritten.
        offset: Crop that column 0 belongs to.
        begins: ``(B + 1,)`` where the crops of each query's own identity begin among the P of all queries.
        columns: ``(P,)`` those crops, ascending for a query.
        right: ``(P,)`` bool: a right answer, else ignored.
        values: ``(P,)`` distances of the right answers: read where ``known``, otherwise taken from the block, which is
            the whole gallery, and written.
        known: Whether ``values`` are given; the crops in ``twins`` then get them, so that it is one and the same number
            in all blocks.
        twins: Columns of the block, ordered so that equal rows of the gallery stand together.
        twin_begins: ``(P,)`` where in ``twins`` the rows equal to the right answer begin, its own among them.
        twin_ends: ``(P,)`` one past the last of them.
        closer: ``(P,)`` int64, added to.
        start: First row to do.
        stop: One past the last.
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
    """Mix the Jaccard distance into rows ``start..stop`` of a block of distances, in place.

    Args:
        indptr: Of the encodings of all queries by rows, with ``members`` and ``weights``.
        members: Columns of the encodings.
        weights: Their values.
        inverse_indptr: ``(N + 1,)`` of the encodings of the gallery by columns, with the two that follow.
        inverse_rows: Crops of the gallery.
        inverse_weights: Their values.
        share: Weight of the distance that stands in ``final``, lam; that of the Jaccard distance is ``1 - share``.
        scale: ``(Q,)`` float32: what the distances of a query are divided by.
        first: Query that row 0 of ``final`` belongs to.
        final: ``(B, G)`` float32 squared distances, overwritten.
        start: First row to do.
        stop: One past the last.
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

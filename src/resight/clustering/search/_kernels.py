"""Compiled inner loops of the neighbour search (numba); import this module only inside functions.

The search offers each row many approximate similarities; a row's *candidates* are the columns among them that may still
belong to its nearest. They lie in fixed buffers, one row each:

- ``value (R, C)`` float32 and ``where (R, C)`` int32: similarity and column of each candidate;
- ``count (R,)`` int32: how many there are;
- ``cut (R,)`` float32: a similarity below it cannot be among the nearest;
- ``full (R,)`` int32: at how many candidates the buffer is next thinned out, which raises ``cut``;
- ``spilt (R,)`` bool: more candidates than the buffer holds lie within the error of each other, so some were dropped.

Rows and columns have numbers of their own, ``0 … N-1``; row r has its buffer at ``r - origin``.
"""

from __future__ import annotations

import numba
import numpy as np

from resight.common.kernels import jit
from resight.common.unit import unit_number

LANES = 64  # similarities looked at together


@jit()
def grown(array: np.ndarray, size: int, capacity: int) -> np.ndarray:
    """A longer array that starts with the first ``size`` entries (a loop: it compiles faster than a slice)."""
    result = np.empty(capacity, array.dtype)
    for t in range(size):
        result[t] = array[t]
    return result


@jit()
def from_half(bits: int) -> float:
    """The float16 whose bits these are, as float32."""
    magnitude = np.uint32((bits & np.uint32(0x7FFF)) << np.uint32(13))
    sign = np.uint32((bits & np.uint32(0x8000)) << np.uint32(16))
    return np.uint32(magnitude | sign).view(np.float32) * np.float32(2.0**112)


def unit_value(data: np.ndarray, norm: np.ndarray | None, i: int, t: int) -> float:
    """Entry ``(i, t)`` of :class:`~resight.clustering.UnitRows`, in float64 (a float32 number)."""
    raise NotImplementedError("compiled only")


@numba.extending.overload(unit_value, inline="always")
def _unit_value(data, norm, i, t):  # type: ignore[no-untyped-def]  # numba compares the bare signatures
    if norm is None or isinstance(norm, numba.types.NoneType):
        return lambda data, norm, i, t: np.float64(data[i, t])
    if data.dtype == numba.uint16:
        return lambda data, norm, i, t: np.float64(unit_number(from_half(np.uint32(data[i, t])), norm[i]))
    return lambda data, norm, i, t: np.float64(unit_number(data[i, t], norm[i]))


@jit(fastmath={"reassoc", "contract"})
def pair_distance(data: np.ndarray, norm: np.ndarray | None, i: int, j: int) -> float:
    """Squared Euclidean distance of two unit rows, summed in float64: exactly symmetric, 0 for equal rows."""
    total = 0.0
    for t in range(data.shape[1]):
        difference = unit_value(data, norm, i, t) - unit_value(data, norm, j, t)
        total += difference * difference
    return total


@jit()
def invert(
    indptr: np.ndarray, columns: np.ndarray, values: np.ndarray, num_columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inverted index of sparse rows: which rows hold a column, ascending, with their values.

    Returns:
        ``(num_columns + 1,)`` starts of the lists, their rows (int32) and values, and where in them each entry went.
    """
    starts = np.zeros(num_columns + 1, np.int64)
    for p in range(columns.shape[0]):
        starts[columns[p] + 1] += 1
    for m in range(num_columns):
        starts[m + 1] += starts[m]
    place = starts[:-1].copy()
    rows = np.empty(columns.shape[0], np.int32)
    held = np.empty(columns.shape[0], values.dtype)
    position = np.empty(columns.shape[0], np.int64)
    for i in range(indptr.shape[0] - 1):
        for p in range(indptr[i], indptr[i + 1]):
            q = place[columns[p]]
            place[columns[p]] += 1
            rows[q] = i
            held[q] = values[p]
            position[p] = q
    return starts, rows, held, position


@jit()
def normalise_rows(raw: np.ndarray, norm: np.ndarray, out: np.ndarray | None, start: int, stop: int) -> None:
    """Lengths of rows ``start..stop``, and the rows divided by them where ``out`` is given; a bad row gets NaN or 0."""
    dim = raw.shape[1]
    for i in range(start, stop):
        largest = 0.0
        for t in range(dim):
            size = abs(np.float64(raw[i, t]))
            if not size <= largest:  # NaN too
                largest = size
        if not 0.0 < largest < np.inf:
            norm[i] = 0.0 if largest == 0.0 else np.nan
            continue
        total = 0.0
        for t in range(dim):
            scaled = np.float64(raw[i, t]) / largest
            total += scaled * scaled
        length = largest * np.sqrt(total)
        if length == np.inf:
            length = largest  # a length beyond float64: no encoder gives one
        norm[i] = length
        if out is not None:
            for t in range(dim):
                out[i, t] = unit_number(raw[i, t], length)


@jit()
def kthlargest(values: np.ndarray, rank: int) -> float:
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


@jit()
def threshold(kth: float, margin: float, relative: float) -> float:
    """What the approximate similarity of a true neighbour reaches at least, given the k-th best approximate one."""
    return kth - margin - relative * abs(kth)


@jit()
def _drop(value: np.ndarray, where: np.ndarray, count: int, cut: float) -> int:
    """Keep the candidates at or above ``cut``, in order; how many they are."""
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
    """Drop the candidates of the row at ``slot`` that cannot be among its nearest; its new ``cut``."""
    size = count[slot]
    cut[slot] = np.float32(threshold(kthlargest(value[:size], need), margin, relative))
    size = _drop(value, where, size, cut[slot])
    capacity = value.shape[0]
    if 4 * size > 3 * capacity:  # too many within the error of the k-th: keep the best half
        spilt[slot] = True
        cut[slot] = np.float32(kthlargest(value[:size], capacity // 2))
        size = min(_drop(value, where, size, cut[slot]), capacity // 2)
    count[slot] = size
    full[slot] = min(capacity, 2 * size + 32)
    return cut[slot]


@jit(fastmath={"nnan", "nsz", "reassoc"}, inline="never")
def largest(row: np.ndarray, first: int, last: int) -> float:
    """Largest of ``row[first:last]``: a loop that the compiler turns into vector instructions."""
    result = row[first]
    for c in range(first + 1, last):
        result = max(result, row[c])
    return result


@jit(fastmath={"nnan", "nsz", "reassoc"}, inline="never")
def _largest_above(row: np.ndarray, bar: np.ndarray, first: int, last: int, start: int) -> float:
    """Largest of ``row[c] - bar[c - start]`` for c from ``first`` to before ``last``, likewise."""
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
    """Offer to rows ``start..stop`` of a tile of similarities its columns (a row is not offered itself)."""
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
    """Offer to the crops of columns ``start..stop`` of a tile its rows: the other half of a symmetric product."""
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
    """Fill a row of the result: i itself, then the candidates by exact distance, ties by index."""
    indices[0] = i
    distances[0] = 0.0
    columns = np.sort(candidates)
    exact = np.empty(columns.shape[0], np.float32)
    for t in range(columns.shape[0]):
        exact[t] = pair_distance(data, norm, i, columns[t])
    # bits of floats >= 0 order as the floats do; below them the position, which grows with the index
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
    """Order the candidates of the rows at slots ``start..stop`` by their exact distance; rows with too few are left.

    Returns:
        How many exact distances were computed.
    """
    computed = 0
    for slot in range(start, stop):
        size = count[slot]
        if size < indices.shape[1] - 1:
            continue
        if size > need > 0:
            cut = np.float32(threshold(kthlargest(value[slot, :size], need), margin, relative))
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
    """Largest exact distance to the candidates of the rows at slots ``start..stop``."""
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
    """Nearest neighbours of rows ``start..stop`` of a tile that spans all columns, with buffers that grow as needed.

    Args:
        data: ``(N, D)`` of :class:`~resight.clustering.UnitRows`.
        norm: Its ``norm``.
        tile: ``(B, N)`` float32 similarities, each within ``margin / 2`` of the true one.
        row_ids: ``(B,)`` which crops the rows of the tile are.
        margin: What may separate a true neighbour from the k-th best approximate similarity.
        indices: ``(B, k)`` int32, written.
        distances: ``(B, k)`` float32, written.
        start: First row to do.
        stop: One past the last.
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
                    cut = np.float32(kthlargest(value, need) - margin)
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
            count = _drop(value, where, count, np.float32(kthlargest(value[:count], need) - margin))
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
    """Largest exact distance of rows ``start..stop`` of a tile that spans all columns."""
    for r in range(start, stop):
        least = tile[r].min()
        largest = np.float32(0.0)
        for j in range(tile.shape[1]):
            if tile[r, j] <= least + margin:
                largest = max(largest, np.float32(pair_distance(data, norm, row_ids[r], j)))
        furthest[r] = largest


@jit()
def round_bfloat16(block: np.ndarray, bits: np.ndarray, start: int, stop: int) -> float:
    """Round rows ``start..stop`` to bfloat16 (to nearest, ties to even), as their bits; largest length of an error."""
    worst = 0.0
    for i in range(start, stop):
        total = 0.0
        for t in range(block.shape[1]):
            exact = block[i, t]
            raw = np.float32(exact).view(np.uint32)
            short = np.uint32(raw + np.uint32(0x7FFF) + ((raw >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
            bits[i, t] = np.uint16(short)
            error = np.float64(exact) - np.float64(np.uint32(short << np.uint32(16)).view(np.float32))
            total += error * error
        worst = max(worst, total)
    return np.sqrt(worst)

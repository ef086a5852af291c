"""Compiled inner loops on rows of features and of sparse matrices (numba); import this module only inside functions."""

from __future__ import annotations

import numba
import numpy as np

from resight.common.kernels import jit
from resight.common.unit import unit_number


@jit()
def grown(array: np.ndarray, size: int, capacity: int) -> np.ndarray:
    """A new array of ``capacity`` entries that starts with the first ``size`` entries of ``array``."""
    result = np.empty(capacity, array.dtype)
    for t in range(size):  # compiles faster than a slice
        result[t] = array[t]
    return result


@jit()
def from_half(bits: int) -> float:
    """The float16 number with these bits, as float32."""
    magnitude = np.uint32((bits & np.uint32(0x7FFF)) << np.uint32(13))
    sign = np.uint32((bits & np.uint32(0x8000)) << np.uint32(16))
    return np.uint32(magnitude | sign).view(np.float32) * np.float32(2.0**112)


def unit_value(data: np.ndarray, norm: np.ndarray | None, i: int, t: int) -> float:
    """Number t of row i of :class:`~resight.clustering.UnitRows`: a float32 number, as float64."""
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
    """Squared Euclidean distance of rows i and j of ``UnitRows``, summed in float64: symmetric, 0 for equal rows."""
    total = 0.0
    for t in range(data.shape[1]):
        difference = unit_value(data, norm, i, t) - unit_value(data, norm, j, t)
        total += difference * difference
    return total


@jit()
def invert(
    indptr: np.ndarray, columns: np.ndarray, values: np.ndarray, num_columns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inverted index of a CSR matrix: for each column the rows with an entry in it.

    Args:
        indptr: ``(M + 1,)`` row starts.
        columns: ``(E,)`` columns.
        values: ``(E,)`` values.
        num_columns: Number of columns.

    Returns:
        ``(num_columns + 1,)`` int64 column starts; ``(E,)`` int32 rows, ascending within a column; ``(E,)`` values; and
        ``(E,)`` int64 place of each entry of the CSR matrix in these arrays.
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
    """Computes the lengths of rows, and divides the rows by them.

    Args:
        raw: ``(N, D)`` float32 or float64.
        norm: ``(N,)`` float64 lengths, written: 0 for a row of zeros, NaN for a row that is not finite.
        out: ``(N, D)`` float32 rows of length 1, written; ``None`` only computes lengths.
        start: First row.
        stop: One past the last row.
    """
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
            length = largest  # the length overflows float64
        norm[i] = length
        if out is not None:
            for t in range(dim):
                out[i, t] = unit_number(raw[i, t], length)


@jit()
def round_bfloat16(block: np.ndarray, bits: np.ndarray, start: int, stop: int) -> float:
    """Rounds rows to bfloat16, to nearest and ties to even.

    Args:
        block: ``(N, D)`` float32.
        bits: ``(N, D)`` uint16 bits of the bfloat16 numbers, written.
        start: First row.
        stop: One past the last row.

    Returns:
        The largest Euclidean length of a row's rounding error.
    """
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

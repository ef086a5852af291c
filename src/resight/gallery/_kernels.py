"""Compiled inner loops of the search (numba); import this module only inside functions."""

from __future__ import annotations

import numpy as np

from resight.common.kernels import jit


@jit()
def shorten(unit: np.ndarray, short: np.ndarray, scale: np.ndarray, error: np.ndarray, start: int, stop: int) -> None:
    """Rounds rows to 8 bits: ``unit ≈ scale · short``.

    Args:
        unit: ``(N, D)`` float32.
        short: ``(N, D)`` int8, written.
        scale: ``(N,)`` float32, written.
        error: ``(N,)`` float32, written: an upper bound of the length of each row's rounding error.
        start: First row.
        stop: One past the last row.
    """
    for i in range(start, stop):
        largest = np.float32(0)
        for t in range(unit.shape[1]):
            largest = max(largest, abs(unit[i, t]))
        step = np.float32(largest / np.float32(127)) if largest > 0 else np.float32(1)
        total = 0.0
        for t in range(unit.shape[1]):
            number = np.rint(unit[i, t] / step)
            short[i, t] = np.int8(number)
            rest = np.float64(unit[i, t]) - np.float64(step) * number
            total += rest * rest
        scale[i] = step
        error[i] = np.float32(1.0001 * np.sqrt(total))


@jit()
def similarities_one(
    query: np.ndarray, rows: np.ndarray, scale: np.ndarray, keep: np.ndarray, out: np.ndarray, start: int, stop: int
) -> None:
    """Products of one shortened query with shortened rows.

    Args:
        query: ``(1, D)`` int16.
        rows: ``(N, D)`` int8.
        scale: ``(N,)`` float32 of the rows.
        keep: ``(N,)`` bool; other rows get -inf and are not read. Without rows: all are kept.
        out: ``(1, N)`` float32, written: still to be multiplied by the query's scale.
        start: First row.
        stop: One past the last row.
    """
    own = query[0]
    for i in range(start, stop):
        if keep.shape[0] and not keep[i]:
            out[0, i] = -np.inf
            continue
        row, total = rows[i], np.int32(0)
        for t in range(rows.shape[1]):
            total += np.int32(own[t]) * np.int32(row[t])
        out[0, i] = np.float32(total) * scale[i]


@jit()
def similarities_four(
    query: np.ndarray, rows: np.ndarray, scale: np.ndarray, keep: np.ndarray, out: np.ndarray, start: int, stop: int
) -> None:
    """:func:`similarities_one` for four queries, ``(4, D)``, which share the reading of the rows."""
    first, second, third, fourth = query[0], query[1], query[2], query[3]
    for i in range(start, stop):
        if keep.shape[0] and not keep[i]:
            out[0, i] = out[1, i] = out[2, i] = out[3, i] = -np.inf
            continue
        row = rows[i]
        a, b, c, d = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
        for t in range(rows.shape[1]):
            number = np.int32(row[t])
            a += np.int32(first[t]) * number
            b += np.int32(second[t]) * number
            c += np.int32(third[t]) * number
            d += np.int32(fourth[t]) * number
        out[0, i] = np.float32(a) * scale[i]
        out[1, i] = np.float32(b) * scale[i]
        out[2, i] = np.float32(c) * scale[i]
        out[3, i] = np.float32(d) * scale[i]


@jit(fastmath={"reassoc", "contract"})
def exact_similarities(query: np.ndarray, rows: np.ndarray, out: np.ndarray, start: int, stop: int) -> None:
    """Cosines of one query with rows of any length, summed in float64.

    Args:
        query: ``(D,)`` float32.
        rows: ``(N, D)`` float32.
        out: ``(N,)`` float64, written.
        start: First row.
        stop: One past the last row.
    """
    own = 0.0
    for t in range(query.shape[0]):
        own += np.float64(query[t]) * np.float64(query[t])
    for i in range(start, stop):
        total, length = 0.0, 0.0
        for t in range(query.shape[0]):
            number = np.float64(rows[i, t])
            total += np.float64(query[t]) * number
            length += number * number
        out[i] = total / np.sqrt(length * own)

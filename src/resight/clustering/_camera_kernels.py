"""Compiled inner loops of the camera-aware Jaccard distance (numba); import this module only inside functions."""

from __future__ import annotations

import numpy as np

from resight.clustering.search._rows import grown, pair_distance
from resight.common.kernels import jit


@jit()
def divide(
    wide: np.ndarray,
    wide_distances: np.ndarray,
    group: np.ndarray,
    within: np.ndarray,
    within_distances: np.ndarray,
    across: np.ndarray,
    across_distances: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides neighbours, nearest first, into those of the crop's camera and the others.

    Returns:
        ``(N,)`` int64 neighbours of each kind that each crop has.
    """
    own, others = np.zeros(wide.shape[0], np.int64), np.zeros(wide.shape[0], np.int64)
    for i in range(wide.shape[0]):
        for t in range(wide.shape[1]):
            j = wide[i, t]
            if group[j] == group[i]:
                if own[i] < within.shape[1]:
                    within[i, own[i]] = j
                    within_distances[i, own[i]] = wide_distances[i, t]
                    own[i] += 1
            elif others[i] < across.shape[1]:
                across[i, others[i]] = j
                across_distances[i, others[i]] = wide_distances[i, t]
                others[i] += 1
    return own, others


@jit()
def sort_candidates(
    data: np.ndarray,
    norm: np.ndarray | None,
    rows: np.ndarray,
    candidates: np.ndarray,
    first: int,
    k: int,
    indices: np.ndarray,
    distances: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Writes the k nearest of each row's candidates by exact distance, ties by index, from column ``first`` on."""
    for r in range(start, stop):
        i = rows[r]
        ordered = np.sort(candidates[r])
        exact = np.empty(ordered.shape[0], np.float32)
        for t in range(ordered.shape[0]):
            exact[t] = np.float32(pair_distance(data, norm, i, ordered[t]))
        order = np.argsort(exact, kind="mergesort")
        for t in range(k):
            indices[i, first + t] = ordered[order[t]]
            distances[i, first + t] = exact[order[t]]


@jit()
def _mutual(lists: np.ndarray, i: int, j: int) -> bool:
    for t in range(lists.shape[1]):  # noqa: SIM110 (numba compiles loops)
        if lists[j, t] == i:
            return True
    return False


@jit()
def weights(
    within: np.ndarray,
    within_distances: np.ndarray,
    across: np.ndarray,
    across_distances: np.ndarray,
    start: int,
    stop: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of V before they are averaged: counts, then int32 ascending columns and float64 values of all rows."""
    counts = np.zeros(stop - start, np.int64)
    width = within.shape[1] + across.shape[1]
    columns = np.empty((stop - start) * width, np.int32)
    values = np.empty(columns.shape[0], np.float64)
    members = np.empty(width, np.int32)
    held = np.empty(width, np.float64)
    filled = 0
    for i in range(start, stop):
        size = 0
        total = 0.0
        for side in range(2):
            lists, near = (within, within_distances) if side == 0 else (across, across_distances)
            for t in range(lists.shape[1]):
                j = lists[i, t]
                if j >= 0 and _mutual(lists, i, j):
                    members[size] = j
                    held[size] = np.exp(-np.float64(near[i, t]))
                    size += 1
        order = np.argsort(members[:size])
        for t in range(size):
            total += held[order[t]]
        for t in range(size):
            columns[filled] = members[order[t]]
            values[filled] = held[order[t]] / total
            filled += 1
        counts[i - start] = size
    return counts, grown(columns, filled, filled), grown(values, filled, filled)

"""Compiled inner loops of the camera-aware Jaccard distance (numba); import this module only inside functions."""

from __future__ import annotations

import numpy as np

from resight.clustering.search._rows import grown, pair_distance
from resight.common.kernels import jit


@jit()
def other_cameras(
    wide: np.ndarray,
    wide_distances: np.ndarray,
    group: np.ndarray,
    indices: np.ndarray,
    distances: np.ndarray,
) -> np.ndarray:
    """Copies the neighbours of other cameras, nearest first, and returns ``(N,)`` how many each crop has."""
    counts = np.zeros(wide.shape[0], np.int64)
    for i in range(wide.shape[0]):
        count = 0
        for t in range(wide.shape[1]):
            j = wide[i, t]
            if count < indices.shape[1] and group[j] != group[i]:
                indices[i, count] = j
                distances[i, count] = wide_distances[i, t]
                count += 1
        counts[i] = count
    return counts


@jit()
def sort_candidates(
    data: np.ndarray,
    norm: np.ndarray | None,
    rows: np.ndarray,
    candidates: np.ndarray,
    k: int,
    indices: np.ndarray,
    distances: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Writes the k nearest of each row's candidates by exact distance, ties by index."""
    for r in range(start, stop):
        i = rows[r]
        ordered = np.sort(candidates[r])
        exact = np.empty(ordered.shape[0], np.float32)
        for t in range(ordered.shape[0]):
            exact[t] = np.float32(pair_distance(data, norm, i, ordered[t]))
        order = np.argsort(exact, kind="mergesort")
        for t in range(k):
            indices[i, t] = ordered[order[t]]
            distances[i, t] = exact[order[t]]


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


@jit()
def mean_of_two(
    indptr: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    within: np.ndarray,
    within_depth: int,
    across: np.ndarray,
    across_depth: int,
    start: int,
    stop: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replaces row i of V by the mean of the rows of its first neighbours in both lists; -1 in a list is skipped."""
    num_points = within.shape[0]
    counts = np.zeros(stop - start, np.int64)
    seen = np.full(num_points, -1, np.int64)
    total = np.zeros(num_points, np.float64)
    touched = np.empty(num_points, np.int32)
    new_columns = np.empty(max(64, 64 * (stop - start)), np.int32)
    new_values = np.empty(new_columns.shape[0], np.float64)
    filled = 0
    for i in range(start, stop):
        size = 0
        used = 0
        for side in range(2):
            lists, depth = (within, within_depth) if side == 0 else (across, across_depth)
            for t in range(min(depth, lists.shape[1])):
                c = lists[i, t]
                if c < 0:
                    continue
                used += 1
                for p in range(indptr[c], indptr[c + 1]):
                    m = columns[p]
                    if seen[m] != i:
                        seen[m] = i
                        total[m] = 0.0
                        touched[size] = m
                        size += 1
                    total[m] += values[p]
        if filled + size > new_columns.shape[0]:
            room = 2 * new_columns.shape[0] + size
            new_columns = grown(new_columns, filled, room)
            new_values = grown(new_values, filled, room)
        members = np.sort(touched[:size])
        for t in range(size):
            new_columns[filled] = members[t]
            new_values[filled] = total[members[t]] / used
            filled += 1
        counts[i - start] = size
    return counts, grown(new_columns, filled, filled), grown(new_values, filled, filled)

"""Jaccard distance of k-reciprocal neighbour sets, on sparse rows.

Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017,
https://arxiv.org/abs/1701.08398, as clustering methods use it (without the mixture with the original distance).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp

from resight.clustering.search import Neighbours, nearest_neighbours
from resight.errors import ResightError


def jaccard_distance(
    features_or_neighbours: Any, k1: int = 30, k2: int = 6, *, max_distance: float = 1.0
) -> sp.csr_matrix:
    """Jaccard distance between the expanded k-reciprocal neighbour sets of all pairs that share a neighbour.

    With R(i) the ``k1`` nearest neighbours of i (i included) and H(i) the first ``round(k1 / 2) + 1`` of them
    (round half to even), N(i) are the reciprocal members of R(i) and N½(i) those of H(i). N(i) is joined by every
    N½(c), c ∈ N(i), of which more than two thirds lie in N(i). V holds ``exp(-squared distance)`` on that set, each
    row divided by its sum, then averaged over the first ``k2`` neighbours. With ``s = Σ_m min(V_im, V_jm)`` the
    distance is ``max(0, 1 - s / (2 - s))``.

    Args:
        features_or_neighbours: ``(N, D)`` features, or the :class:`Neighbours` of them with ``k >= k1``.
        k1: Size of the neighbour lists; clipped to N.
        k2: Neighbours averaged over; 1 leaves V as it is.
        max_distance: Pairs farther apart are not stored. With the clustering's ``eps``, the largest arrays
            stay small.

    Returns:
        ``(N, N)`` symmetric float32 CSR matrix with sorted columns. It stores every pair with a distance below 1
        and at most ``max_distance``; the diagonal and zero distances between different crops are stored as
        explicit zeros (equal sets differ by rounding only: below 1e-12 is 0). A pair that is not stored is farther
        apart than that. The result is the same for any number of threads.

    Raises:
        ResightError: A setting is out of range, or the neighbours are too few for ``k1``.
    """
    if math.isnan(max_distance) or max_distance < 0:
        raise ResightError(f"max_distance of the Jaccard distance must be at least 0, got {max_distance}.")
    from resight.clustering import _kernels

    neighbours = _with_features(features_or_neighbours, k1, k2)
    weights = neighbour_weights(neighbours, depth=k1, half_depth=round(k1 / 2) + 1, k2=k2)
    num_points = len(neighbours)
    pieces = list(jaccard_chunks(weights, invert(weights), max_distance))
    starts, columns, values = _kernels.mirror(*(np.concatenate(part) for part in zip(*pieces, strict=True)))
    return _csr(starts, columns, values, (num_points, num_points))


def neighbour_weights(
    neighbours: Neighbours, *, depth: int, half_depth: int, k2: int, scale: np.ndarray | None = None
) -> sp.csr_matrix:
    """The neighbour weights V of :func:`jaccard_distance`.

    Args:
        neighbours: At least ``depth`` neighbours a crop, with the features.
        depth: Size of R(i), i included; clipped to N.
        half_depth: Size of H(i), i included.
        k2: Neighbours averaged over.
        scale: ``(N,)`` what the distances of each row are divided by first; ``None`` takes them as they are.

    Returns:
        V as ``(N, N)`` float64 CSR with sorted columns; each row sums to 1.

    Raises:
        ResightError: The neighbours are too few, or lack the features.
    """
    from resight.clustering import _kernels
    from resight.common.kernels import map_rows

    num_points = len(neighbours)
    depth = min(depth, num_points)
    if neighbours.k < depth:
        raise ResightError(
            f"The Jaccard distance needs {depth} neighbours a crop, but only {neighbours.k} were given: "
            f"search for k={depth}."
        )
    rows = neighbours.features
    if rows is None:
        raise ResightError(
            "The Jaccard distance needs the features beside the neighbours, for set members that are not among "
            "them: pass the features, or neighbours from nearest_neighbours, which carry them."
        )
    data, norm = rows.data, rows.norm
    indices = np.ascontiguousarray(neighbours.indices[:, :depth], dtype=np.int32)
    distances = np.ascontiguousarray(neighbours.distances[:, :depth], dtype=np.float32)

    def reciprocal(size: int) -> tuple[np.ndarray, np.ndarray]:
        def work(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            return _kernels.reciprocal_rows(indices, start, stop, size)

        parts = list(map_rows(work, num_points, chunk=_chunk(num_points)))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    full_counts, full = reciprocal(depth)
    half_counts, half = reciprocal(min(half_depth, depth))

    def weigh(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _kernels.weight_rows(
            data, norm, indices, distances, full_counts, full, half_counts, half, scale, start, stop
        )

    weights = _join(map_rows(weigh, num_points, chunk=_chunk(num_points)), num_points)
    if k2 > 1:
        indptr, columns, values = weights.indptr, weights.indices, weights.data

        def average(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return _kernels.mean_rows(indptr, columns, values, neighbours.indices, min(k2, neighbours.k), start, stop)

        weights = _join(map_rows(average, num_points, chunk=_chunk(num_points)), num_points)
    return weights


#: Starts of the lists, rows and values of each column of V, and where in them each entry of V stands.
InvertedIndex = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def invert(weights: sp.csr_matrix) -> InvertedIndex:
    """Inverted index of V: which rows hold a column, ascending."""
    from resight.clustering.search import _kernels

    index: InvertedIndex = _kernels.invert(weights.indptr, weights.indices, weights.data, weights.shape[1])
    return index


def jaccard_chunks(
    weights: sp.csr_matrix, index: InvertedIndex, max_distance: float, *, rows: np.ndarray | None = None
) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Jaccard distances of consecutive ranges of rows: counts, ascending columns, float32 distances.

    Args:
        weights: V as ``(N, N)`` CSR with sorted columns.
        index: Its inverted index.
        max_distance: Largest distance kept.
        rows: Rows to compare with all rows; by default every pair is done once, from its lower row.
    """
    from resight.clustering import _kernels
    from resight.common.kernels import map_rows

    starts, holders, held, position = index
    chosen = weights if rows is None else weights[rows]
    chosen.sort_indices()

    def work(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _kernels.jaccard_rows(
            chosen.indptr,
            chosen.indices,
            chosen.data,
            starts,
            holders,
            held,
            position if rows is None else None,
            float(max_distance),
            start,
            stop,
        )

    return map_rows(work, chosen.shape[0], chunk=_chunk(weights.shape[0]))


def _with_features(features_or_neighbours: Any, k1: int, k2: int) -> Neighbours:
    check_depths(k1, k2)
    if isinstance(features_or_neighbours, Neighbours):
        return features_or_neighbours
    return nearest_neighbours(features_or_neighbours, k1)


def check_depths(k1: int, k2: int) -> None:
    """Raise a sentence when ``k1`` and ``k2`` do not make a Jaccard distance."""
    if k1 < 1:
        raise ResightError(f"clustering.k1 must be at least 1, got {k1}.")
    if not 1 <= k2 <= k1:
        raise ResightError(f"clustering.k2 must lie between 1 and clustering.k1={k1}, got {k2}.")


def _chunk(num_points: int) -> int:
    """Rows a task: enough that a task's scratch of N entries is cheap beside its work."""
    return max(256, num_points // 512)


def _join(parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], num_points: int) -> sp.csr_matrix:
    """Put consecutive ranges of sparse rows into one ``(N, N)`` CSR matrix."""
    pieces = list(parts)
    starts = np.zeros(num_points + 1, np.int64)
    np.cumsum(np.concatenate([piece[0] for piece in pieces]), out=starts[1:])
    columns = np.concatenate([piece[1] for piece in pieces])
    values = np.concatenate([piece[2] for piece in pieces])
    return _csr(starts, columns, values, (num_points, num_points))


def _csr(starts: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """A CSR matrix that is known to be in order."""
    matrix = sp.csr_matrix((values, columns, starts), shape=shape, copy=False)
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix

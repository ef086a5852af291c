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

from resight.clustering.neighbours import Neighbours, nearest_neighbours
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
    rows, columns = membership(features_or_neighbours, k1, k2)
    return _join(jaccard_chunks(rows, columns, max_distance), rows.shape[0])


def membership(features_or_neighbours: Any, k1: int, k2: int) -> tuple[sp.csr_matrix, sp.csc_matrix]:
    """The neighbour weights V of :func:`jaccard_distance`, by rows and by columns.

    Returns:
        V as ``(N, N)`` float64 CSR with sorted columns, and the same as CSC: its inverted index.
    """
    from resight.clustering import _kernels

    check_depths(k1, k2)
    if isinstance(features_or_neighbours, Neighbours):
        neighbours = features_or_neighbours
    else:
        neighbours = nearest_neighbours(features_or_neighbours, k1)
    num_points = len(neighbours)
    depth = min(k1, num_points)
    if neighbours.k < depth:
        raise ResightError(
            f"The Jaccard distance with k1={k1} needs {depth} neighbours a crop, but only {neighbours.k} were given: "
            f"search for k={k1}."
        )
    if neighbours.features is None:
        raise ResightError(
            "The Jaccard distance needs the features beside the neighbours, for set members that are not among "
            "them: pass the features, or neighbours from nearest_neighbours, which carry them."
        )
    features = np.ascontiguousarray(neighbours.features, dtype=np.float32)
    indices = np.ascontiguousarray(neighbours.indices[:, :depth], dtype=np.int32)
    distances = np.ascontiguousarray(neighbours.distances[:, :depth], dtype=np.float32)
    half_depth = min(round(k1 / 2) + 1, depth)  # Python rounds halves to even, as the definition asks

    def reciprocal(size: int) -> tuple[np.ndarray, np.ndarray]:
        def work(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            return _kernels.reciprocal_rows(indices, start, stop, size)

        parts = list(_kernels.map_rows(work, num_points, chunk=_chunk(num_points)))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    full_counts, full = reciprocal(depth)
    half_counts, half = reciprocal(half_depth)

    def weigh(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _kernels.weight_rows(features, indices, distances, full_counts, full, half_counts, half, start, stop)

    weights = _join(_kernels.map_rows(weigh, num_points, chunk=_chunk(num_points)), num_points)
    if k2 > 1:
        indptr, columns, values = weights.indptr, weights.indices, weights.data

        def average(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return _kernels.mean_rows(indptr, columns, values, indices, min(k2, depth), start, stop)

        weights = _join(_kernels.map_rows(average, num_points, chunk=_chunk(num_points)), num_points)
    return weights, weights.tocsc()


def jaccard_chunks(
    rows: sp.csr_matrix, columns: sp.csc_matrix, max_distance: float, *, ids: np.ndarray | None = None
) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Jaccard distances of consecutive ranges of rows: counts, ascending columns, float32 distances.

    Args:
        rows: ``(M, N)`` CSR with sorted columns: the rows of V to compare with all rows.
        columns: ``(N, N)`` CSC of the whole V.
        max_distance: Largest distance kept.
        ids: ``(M,)`` crops that ``rows`` belong to; by default all of them in order.
    """
    from resight.clustering import _kernels

    crops = np.arange(rows.shape[0]) if ids is None else np.asarray(ids, np.int64)

    def work(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _kernels.jaccard_rows(
            crops,
            rows.indptr,
            rows.indices,
            rows.data,
            columns.indptr,
            columns.indices,
            columns.data,
            float(max_distance),
            start,
            stop,
        )

    return _kernels.map_rows(work, rows.shape[0], chunk=_chunk(columns.shape[0]))


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
    indptr = np.zeros(num_points + 1, np.int64)
    np.cumsum(np.concatenate([piece[0] for piece in pieces]), out=indptr[1:])
    columns = np.concatenate([piece[1] for piece in pieces])
    values = np.concatenate([piece[2] for piece in pieces])
    matrix = sp.csr_matrix((values, columns, indptr), shape=(num_points, num_points), copy=False)
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix

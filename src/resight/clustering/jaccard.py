"""Jaccard distance of k-reciprocal neighbour sets, as sparse matrices.

Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017,
https://arxiv.org/abs/1701.08398. Clustering methods use this distance without the paper's mixture with the original
distance.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp

from resight.clustering.search import Neighbours, UnitRows, nearest_neighbours
from resight.common.checks import as_array, instance, number, shown, whole
from resight.errors import ResightError


def jaccard_distance(
    features_or_neighbours: Any, k1: int = 30, k2: int = 6, *, max_distance: float = 1.0
) -> sp.csr_matrix:
    """Jaccard distance between the expanded k-reciprocal neighbour sets of crops (Zhong et al., CVPR 2017).

    R(i) are the ``k1`` nearest neighbours of crop i, i included, and H(i) the first ``round(k1 / 2) + 1`` of them
    (round half to even). N(i) holds the j in R(i) with i in R(j), and N½(i) the j in H(i) with i in H(j). N(i) is
    joined by the N½(c) of every c in N(i) for which more than two thirds of N½(c) are in N(i). V_ij is
    ``exp(-squared distance)`` for j in this set, else 0; each row is divided by its sum, then averaged over the first
    ``k2`` neighbours. With ``s_ij = Σ_m min(V_im, V_jm)`` the distance is ``max(0, 1 - s_ij / (2 - s_ij))``.

    Args:
        features_or_neighbours: ``(N, D)`` features, or :class:`~resight.clustering.Neighbours` with at least ``k1``
            neighbours per crop.
        k1: Length of the neighbour lists, the crop itself counted, at least 1; clipped to N.
        k2: Neighbours whose rows of V are averaged, the crop itself counted, 1…k1; 1 leaves V as it is.
        max_distance: Pairs farther apart are not stored, which saves memory where a clustering ignores them.

    Returns:
        ``(N, N)`` symmetric float32 CSR matrix with sorted columns. It stores every pair with a distance below 1 and
        at most ``max_distance``. Zeros are stored explicitly: the diagonal, and pairs with equal sets (distances below
        1e-12 are rounding and become 0). The result does not depend on the number of threads.

    Raises:
        ResightError: An argument is out of range, there are fewer than ``k1`` neighbours per crop, or the features are
            not usable.
    """
    max_distance = number("max_distance of the Jaccard distance", max_distance, least=0)
    k1, k2 = check_depths(k1, k2)
    neighbours = features_or_neighbours
    if not isinstance(neighbours, Neighbours):
        neighbours = nearest_neighbours(neighbours, k1)
    weights = neighbour_weights(neighbours, depth=k1, half_depth=round(k1 / 2) + 1, k2=k2)
    return distances_of_weights(weights, max_distance)


def distances_of_weights(weights: sp.csr_matrix, max_distance: float) -> sp.csr_matrix:
    """The matrix of :func:`jaccard_distance` from V, whose rows sum to 1."""
    from resight.clustering import _kernels

    pieces = list(jaccard_chunks(weights, invert(weights), max_distance))
    starts, columns, values = _kernels.mirror(*(np.concatenate(part) for part in zip(*pieces, strict=True)))
    return _csr(starts, columns, values, weights.shape)


def neighbour_weights(
    neighbours: Neighbours, *, depth: int, half_depth: int, k2: int, scale: np.ndarray | None = None
) -> sp.csr_matrix:
    """Weights of each crop's expanded k-reciprocal neighbours: V of :func:`jaccard_distance`, which defines the sets.

    Args:
        neighbours: At least ``depth`` neighbours per crop, with the features.
        depth: Length of R(i), the crop itself counted; clipped to N.
        half_depth: Length of H(i), the crop itself counted.
        k2: Neighbours whose rows of V are averaged, the crop itself counted.
        scale: ``(N,)`` float32 divisors of each crop's squared distances; ``None`` does not divide.

    Returns:
        V: ``(N, N)`` float64 CSR matrix with sorted columns; each row sums to 1.

    Raises:
        ResightError: There are fewer than ``depth`` neighbours per crop, or ``neighbours`` has no features.
    """
    from resight.clustering import _kernels
    from resight.common.kernels import map_rows

    check_neighbours(neighbours)
    num_points = len(neighbours)
    depth, half_depth, k2 = (
        whole(f"{name} of the neighbour weights", value)
        for name, value in (("depth", depth), ("half_depth", half_depth), ("k2", k2))
    )
    if scale is not None:
        scale = as_array("scale of the neighbour weights", scale)
        if scale.shape != (num_points,) or scale.dtype.kind != "f" or not (scale > 0).all():
            raise ResightError(f"scale of the neighbour weights must be {num_points} numbers above 0, one per crop.")
    depth = min(depth, num_points)
    if neighbours.k < depth:
        raise ResightError(
            f"The Jaccard distance needs {depth} neighbours per crop, but only {neighbours.k} were given: "
            f"search for k={depth}."
        )
    rows = neighbours.features
    assert rows is not None
    data, norm = rows.data, rows.norm
    indices = np.ascontiguousarray(neighbours.indices[:, :depth], dtype=np.int32)
    distances = np.ascontiguousarray(neighbours.distances[:, :depth], dtype=np.float32)

    def reciprocal(size: int) -> tuple[np.ndarray, np.ndarray]:
        def work(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            return _kernels.reciprocal_rows(indices, start, stop, size)

        parts = list(map_rows(work, num_points, chunk=rows_per_chunk(num_points)))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    full_counts, full = reciprocal(depth)
    half_counts, half = reciprocal(min(half_depth, depth))

    def weigh(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _kernels.weight_rows(
            data, norm, indices, distances, full_counts, full, half_counts, half, scale, start, stop
        )

    weights = join_rows(map_rows(weigh, num_points, chunk=rows_per_chunk(num_points)), num_points)
    if k2 > 1:
        indptr, columns, values = weights.indptr, weights.indices, weights.data

        def average(start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            depth = min(k2, neighbours.k)
            return _kernels.mean_rows(indptr, columns, values, neighbours.indices, depth, None, 0, start, stop)

        weights = join_rows(map_rows(average, num_points, chunk=rows_per_chunk(num_points)), num_points)
    return weights


#: The columns of a sparse matrix: starts, rows and values; and the place in them of each entry of the matrix.
InvertedIndex = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def invert(weights: sp.csr_matrix) -> InvertedIndex:
    """Inverted index of a CSR matrix: for each column the rows with an entry in it, ascending."""
    from resight.clustering.search import _rows

    index: InvertedIndex = _rows.invert(weights.indptr, weights.indices, weights.data, weights.shape[1])
    return index


def jaccard_chunks(
    weights: sp.csr_matrix, index: InvertedIndex, max_distance: float, *, rows: np.ndarray | None = None
) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Jaccard distances, in consecutive ranges of rows.

    Args:
        weights: V, from :func:`neighbour_weights`.
        index: Inverted index of V, from :func:`invert`.
        max_distance: Largest distance to keep.
        rows: Indices of the rows to compare with all rows. By default all rows, with every pair once, in the row of
            its lower index, and without the diagonal.

    Yields:
        For each range: distances per row, then ascending columns and float32 distances of all its rows.
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

    return map_rows(work, chosen.shape[0], chunk=rows_per_chunk(weights.shape[0]))


def check_neighbours(neighbours: Neighbours) -> None:
    """Raises a :class:`ResightError` unless compiled loops, which check nothing, can read the neighbours."""
    instance("neighbours", neighbours, Neighbours, "nearest_neighbours makes them")
    if neighbours.features is None:
        raise ResightError(
            "The Jaccard distance needs the features as well as the neighbours, for set members that are not among "
            "the neighbours: pass the features, or the result of nearest_neighbours, which holds them."
        )
    indices, distances = (np.asarray(values) for values in (neighbours.indices, neighbours.distances))
    size = len(instance("The features of neighbours", neighbours.features, UnitRows, "unit_rows makes them"))
    if (
        indices.ndim != 2
        or indices.dtype.kind not in "iu"
        or indices.shape != distances.shape
        or len(indices) != size
        or not 0 <= indices.min() <= indices.max() < size
        or not distances.min() >= 0
    ):
        raise ResightError(
            f"The neighbours are not those of {size} crops: their indices have shape {indices.shape} of "
            f"{indices.dtype}, their distances {distances.shape} of {distances.dtype}. nearest_neighbours makes such "
            "lists."
        )


def check_depths(k1: int, k2: int) -> tuple[int, int]:
    """Both as plain numbers; raises a :class:`ResightError` unless ``1 <= k2 <= k1``."""
    k1, k2 = whole("clustering.k1", k1), whole("clustering.k2", k2, least=-(2**63))
    if not 1 <= k2 <= k1:
        raise ResightError(f"clustering.k2 must lie between 1 and clustering.k1={k1}, got {shown(k2)}.")
    return k1, k2


def rows_per_chunk(num_points: int) -> int:
    """Rows in a range: enough that allocating N entries of scratch per range costs little."""
    return max(256, num_points // 512)


def join_rows(parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]], num_points: int) -> sp.csr_matrix:
    """One ``(N, N)`` CSR matrix from consecutive ranges of sparse rows."""
    pieces = list(parts)
    starts = np.zeros(num_points + 1, np.int64)
    np.cumsum(np.concatenate([piece[0] for piece in pieces]), out=starts[1:])
    columns = np.concatenate([piece[1] for piece in pieces])
    values = np.concatenate([piece[2] for piece in pieces])
    return _csr(starts, columns, values, (num_points, num_points))


def _csr(starts: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """A CSR matrix whose columns are known to be sorted and unique."""
    matrix = sp.csr_matrix((values, columns, starts), shape=shape, copy=False)
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix

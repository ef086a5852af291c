"""Re-ranking by k-reciprocal encoding.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017
(https://arxiv.org/abs/1701.08398), with the details of the authors' code:

- Crops are the queries and the gallery together, N of them. ``d_ij`` is the squared Euclidean distance of their
  L2-normalised features, divided by the largest of row i. (Some later codes square that distance once more; here it is
  squared once, as in the paper's squared Mahalanobis distance with the identity matrix.)
- R(i): the first ``k1 + 1`` of the ranking of i, **i itself included**. The clustering distance of the same paper's
  descendants counts differently: its R(i) has k1 crops including i.
- H(i): the first ``round(k1 / 2) + 1`` of it (round half to even), as in the Python code that all later work uses; the
  original MATLAB code takes ``round((k1 + 1) / 2)``, which is the same number for even k1.
- N(i): the j in R(i) that have i in R(j); half(c) likewise from H.
- N*(i): N(i) and half(c) of every c in N(i) of which more than two thirds of half(c) are in N(i).
- V_ij: exp(-d_ij) for j in N*(i), else 0; each row divided by its sum, then averaged over the first ``k2`` of the
  ranking of i.
- s_ij: the sum over m of min(V_im, V_jm); Jaccard distance 1 - s_ij / (2 - s_ij).
- Final distance: (1 - lam) · Jaccard + lam · d_ij.

A crop stands first in its own ranking, also beside exact duplicates; equal distances keep the order of queries, then
gallery. V is kept in sparse rows (tens to hundreds of entries each) and distances in blocks of rows, so that beside the
features and the Q×G result nothing grows with the square of the crops.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resight.errors import ResightError
from resight.evaluation.ranking import DistanceRows, check_features, unit_features

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

#: Upper bound of the bytes of one block of distances.
_BLOCK_BYTES = 32 << 20


@dataclass(frozen=True)
class RerankOptions:
    """Settings of k-reciprocal re-ranking; the defaults are those of the paper for Market-1501.

    Attributes:
        k1: Neighbours beside the crop itself that may be reciprocal.
        k2: Crops, itself included, over which an encoding is averaged.
        lam: Weight of the original distance against the Jaccard distance, between 0 and 1.
    """

    k1: int = 20
    k2: int = 6
    lam: float = 0.3

    def __post_init__(self) -> None:
        if self.k1 < 1 or self.k2 < 1:
            raise ResightError(f"Re-ranking has k1={self.k1} and k2={self.k2}: both must be at least 1.")
        if not 0 <= self.lam <= 1:
            raise ResightError(f"Re-ranking has lam={self.lam}: it must lie between 0 and 1.")

    def to_dict(self) -> dict[str, float]:
        """The settings as plain numbers."""
        return asdict(self)


def rerank_distances(
    query_features: np.ndarray,
    gallery_features: np.ndarray,
    k1: int = 20,
    k2: int = 6,
    lam: float = 0.3,
) -> np.ndarray:
    """Distances from queries to gallery after k-reciprocal re-ranking.

    Args:
        query_features: ``(Q, D)`` floats, of any scale.
        gallery_features: ``(G, D)`` floats.
        k1: Neighbours beside the crop itself that may be reciprocal.
        k2: Crops, itself included, over which an encoding is averaged.
        lam: Weight of the original distance against the Jaccard distance.

    Returns:
        ``(Q, G)`` float32, between 0 and 1.

    Raises:
        ResightError: Features as :func:`resight.evaluation.ranking.evaluate_retrieval` refuses them, or settings as
            :class:`RerankOptions` does.
    """
    RerankOptions(k1, k2, lam)
    query, gallery = check_features(query_features, gallery_features)
    features = np.concatenate([unit_features(query, "query"), unit_features(gallery, "gallery")])
    ranking, row_max, final = _rank_all(features, len(query), max(k1 + 1, k2))
    encoding = _average(_encode(features, ranking, row_max, k1), ranking, k2)
    final *= np.float32(lam)
    _add_jaccard(final, encoding, np.float32(1 - lam))
    return final


def _rank_all(features: np.ndarray, num_queries: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The head of every crop's ranking, and the distances that the result needs.

    Args:
        features: ``(N, D)`` of length 1, queries first.
        num_queries: Q.
        k: Length of the head.

    Returns:
        ``(N, min(k, N))`` int64 crops, nearest first; ``(N,)`` float32 largest squared distance of each row (1 where
        all are 0); ``(Q, G)`` float32 squared distances from queries to gallery, divided by the row's largest.
    """
    size = len(features)
    k = min(k, size)
    ranking = np.empty((size, k), dtype=np.int64)
    row_max = np.empty(size, dtype=np.float32)
    to_gallery = np.empty((num_queries, size - num_queries), dtype=np.float32)
    columns = np.arange(size, dtype=np.uint64)
    distance_rows = DistanceRows(features, features)
    step = max(1, _BLOCK_BYTES // (8 * size))
    for start in range(0, size, step):
        rows = np.arange(start, min(start + step, size))
        distances = distance_rows(slice(start, start + len(rows)))
        distances[np.arange(len(rows)), rows] = 0
        largest = distances.max(axis=1)
        row_max[rows] = np.where(largest > 0, largest, 1)
        # Bits of a float that is not negative rank as the float does; with the column below them, no two keys are
        # equal and the order is by distance, then column. Distances start at 1, so that 0 is left for the crop itself.
        keys = distances.view(np.uint32).astype(np.uint64)
        keys += 1
        keys <<= 32
        keys |= columns
        keys[np.arange(len(rows)), rows] = rows
        if k < size:
            keys.partition(k - 1, axis=1)
        head = np.sort(keys[:, :k], axis=1)
        ranking[rows] = (head & np.uint64(0xFFFFFFFF)).astype(np.int64)
        queries = rows[rows < num_queries]
        if len(queries):
            to_gallery[queries] = distances[: len(queries), num_queries:] / row_max[queries, None]
    return ranking, row_max, to_gallery


def _encode(features: np.ndarray, ranking: np.ndarray, row_max: np.ndarray, k1: int) -> csr_matrix:
    """Rows of V before averaging: ``(N, N)`` sparse float32, each row with sum 1."""
    size = len(ranking)
    near = _reciprocal(ranking[:, : k1 + 1])
    half = _reciprocal(ranking[:, : int(np.around(k1 / 2)) + 1])
    # For c in N(i): how many of half(c) are in N(i). A crop is in its own sets, so no count is 0.
    shared = (near @ half.T).multiply(near).tocsr()
    shared.sort_indices()
    shared.data = (3 * shared.data > 2 * np.diff(half.indptr)[shared.indices]).astype(np.int32)
    shared.eliminate_zeros()
    expanded = (near + shared @ half).tocsr()
    expanded.sort_indices()
    expanded = expanded.astype(np.float32)
    rows = np.repeat(np.arange(size), np.diff(expanded.indptr))
    expanded.data = np.exp(-_pair_distances(features, rows, expanded.indices) / row_max[rows])
    total = np.add.reduceat(expanded.data, expanded.indptr[:-1])
    expanded.data /= total[rows]
    return expanded


def _reciprocal(neighbours: np.ndarray) -> csr_matrix:
    """``(N, N)`` sparse int32: 1 where i and j are among each other's ``(N, k)`` neighbours."""
    from scipy.sparse import csr_matrix

    size, k = neighbours.shape
    ones = np.ones(size * k, dtype=np.int32)
    forward = csr_matrix((ones, neighbours.ravel(), np.arange(size + 1) * k), shape=(size, size))
    return forward.multiply(forward.T).tocsr()


def _pair_distances(features: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``2 - 2 cos`` of pairs of rows; 0 for a crop and itself."""
    distances = np.empty(len(first), dtype=np.float32)
    step = max(1, _BLOCK_BYTES // (8 * features.shape[1]))
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        distances[part] = np.einsum("ij,ij->i", features[first[part]], features[second[part]])
    distances *= -2
    distances += 2
    np.maximum(distances, 0, out=distances)
    distances[first == second] = 0
    return distances


def _average(encoding: csr_matrix, ranking: np.ndarray, k2: int) -> csr_matrix:
    """Local query expansion: each row the mean over the first ``k2`` crops of its ranking."""
    from scipy.sparse import csr_matrix

    if k2 == 1:
        return encoding
    size, k = len(ranking), min(k2, ranking.shape[1])
    share = np.full(size * k, 1 / k, dtype=np.float32)
    mean = csr_matrix((share, ranking[:, :k].ravel(), np.arange(size + 1) * k), shape=(size, size))
    return (mean @ encoding).tocsr()


def _add_jaccard(final: np.ndarray, encoding: csr_matrix, weight: np.floating[Any]) -> None:
    """Add ``weight`` times the Jaccard distance of queries and gallery to ``final``, ``(Q, G)`` float32, in place.

    For each entry (i, m) of a query's row, the gallery crops with an entry m are listed once: the work is that of a
    sparse product, with the minimum in place of the product.
    """
    num_queries, num_gallery = final.shape
    query = encoding[:num_queries]
    gallery = encoding[num_queries:].tocsc()
    column_size = np.diff(gallery.indptr)
    # Blocks of queries with a bounded number of meetings (and at most a bounded array of sums).
    meetings = np.concatenate([[0], np.cumsum(column_size[query.indices], dtype=np.int64)])[query.indptr]
    most, most_rows = _BLOCK_BYTES // 16, max(1, _BLOCK_BYTES // (8 * num_gallery))
    start = 0
    while start < num_queries:
        stop = int(np.searchsorted(meetings, meetings[start] + most, side="right")) - 1
        stop = min(max(stop, start + 1), start + most_rows, num_queries)
        entries = slice(query.indptr[start], query.indptr[stop])
        member = query.indices[entries]
        row = np.repeat(np.arange(stop - start), np.diff(query.indptr[start : stop + 1]))
        length = column_size[member]
        ends = np.cumsum(length)
        place = np.arange(ends[-1]) + np.repeat(gallery.indptr[member] - (ends - length), length)
        smaller = np.minimum(np.repeat(query.data[entries], length), gallery.data[place])
        cell = np.repeat(row * num_gallery, length) + gallery.indices[place]
        shared = np.bincount(cell, weights=smaller, minlength=(stop - start) * num_gallery)
        shared = shared.reshape(stop - start, num_gallery)
        final[start:stop] += weight * np.maximum(0, 1 - shared / (2 - shared)).astype(np.float32)
        start = stop

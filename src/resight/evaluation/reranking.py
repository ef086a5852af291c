"""Re-ranking by k-reciprocal encoding.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017
(https://arxiv.org/abs/1701.08398), with the details of the authors' code:

- The N crops are queries and gallery together. ``d_ij`` is the squared Euclidean distance of their L2-normalised
  features, divided by the largest distance of row i. (Some later codes square the distance twice; here it is squared
  once, as in the paper's squared Mahalanobis distance with the identity matrix.)
- R(i): the first ``k1 + 1`` crops in the ranking of i, **i itself included**. The Jaccard distance of the clustering
  counts differently: its R(i) has k1 crops including i.
- H(i): the first ``round(k1 / 2) + 1`` crops of that ranking (round half to even), as in the Python code that later
  work uses. The original MATLAB code takes ``round((k1 + 1) / 2)``, which is the same number for even k1.
- N(i): the j in R(i) with i in R(j). half(c): the j in H(c) with c in H(j).
- N*(i): N(i), joined by half(c) of every c in N(i) for which more than two thirds of half(c) are in N(i).
- V_ij: exp(-d_ij) for j in N*(i), else 0. Each row is divided by its sum, then averaged over the first ``k2`` crops in
  the ranking of i.
- s_ij: the sum over m of min(V_im, V_jm). The Jaccard distance is 1 - s_ij / (2 - s_ij).
- Final distance: (1 - lam) · Jaccard + lam · d_ij.

A crop comes first in its own ranking, even where it has exact duplicates. Equal distances keep the order: queries, then
gallery. The rankings, the largest distances and the d_ij in V are sums of squared differences in float64, rounded to
float32. The d_ij of the final distance is ``2 - 2 cos`` in float32, as without re-ranking; the two differ by rounding
only.

V has sparse rows of tens to hundreds of entries. Final distances are computed for one block of queries at a time, from
an inverted index of the gallery's rows of V. So no array of N×N is held.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from resight.common.checks import number, whole
from resight.evaluation.distances import BLOCK_BYTES, DistanceRows, Rows, check_features, unit_rows


@dataclass(frozen=True)
class RerankOptions:
    """Settings of k-reciprocal re-ranking; the defaults are those of Zhong et al. (CVPR 2017) for Market-1501.

    Attributes:
        k1: Length of the neighbour lists, the crop itself not counted.
        k2: Neighbours whose weights are averaged, the crop itself counted.
        lam: Weight of the original distance, between 0 and 1; the Jaccard distance has the weight ``1 - lam``.

    Raises:
        ResightError: A setting is out of range.
    """

    k1: int = 20
    k2: int = 6
    lam: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "k1", whole("k1 of the re-ranking", self.k1, most=10**9))
        object.__setattr__(self, "k2", whole("k2 of the re-ranking", self.k2, most=10**9))
        object.__setattr__(self, "lam", number("lam of the re-ranking", self.lam, least=0, most=1))

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
    """Distances from queries to gallery crops after k-reciprocal re-ranking (Zhong et al., CVPR 2017).

    Args:
        query_features: ``(Q, D)`` numbers, of any scale.
        gallery_features: ``(G, D)`` numbers.
        k1: Length of the neighbour lists, the crop itself not counted.
        k2: Neighbours whose weights are averaged, the crop itself counted.
        lam: Weight of the original distance; the Jaccard distance has the weight ``1 - lam``.

    Returns:
        ``(Q, G)`` float32, between 0 and 1.

    Raises:
        ResightError: Shapes do not fit, a feature is not finite or all zeros, or a setting is out of range.
    """
    options = RerankOptions(k1, k2, lam)
    query, gallery = check_features(query_features, gallery_features)
    reranked = Reranking(Rows(query), Rows(gallery), options)
    final = np.empty((len(query), len(gallery)), dtype=np.float32)
    step = max(1, BLOCK_BYTES // (4 * len(gallery)))
    for start in range(0, len(query), step):
        final[start : start + step] = reranked(slice(start, start + step))
    return final


class Reranking:
    """Distances after re-ranking, computed for the queries asked for.

    Args:
        query: Q rows of D numbers.
        gallery: G rows of D numbers.
        options: The settings.
        device: Where neighbours are searched and distances are computed: ``None`` or ``"cpu"``, or a device of PyTorch.

    Raises:
        ResightError: A feature is not finite or all zeros, or the device is not available.
    """

    def __init__(self, query: Rows, gallery: Rows, options: RerankOptions, device: str | None = None) -> None:
        from resight.clustering import UnitRows, nearest_neighbours, neighbour_weights

        num_queries, size = len(query), len(query) + len(gallery)
        features = np.empty((size, query.dim), dtype=np.float32)
        unit_rows(query, "query", out=features[:num_queries])
        _, mark = unit_rows(gallery, "gallery", out=features[num_queries:])
        self._distance_rows = DistanceRows(features[:num_queries], features[num_queries:], mark, device)
        depth = min(options.k1 + 1, size)
        neighbours = nearest_neighbours(
            UnitRows(features), min(max(depth, options.k2), size), search="exact", furthest=True, device=device
        )
        self._scale = np.asarray(neighbours.furthest, dtype=np.float32)
        self._scale[self._scale == 0] = 1
        encoding = neighbour_weights(
            neighbours,
            depth=depth,
            half_depth=min(round(options.k1 / 2) + 1, size),  # Python rounds halves to even
            k2=min(options.k2, size),
            scale=self._scale,
        )
        self._query, self._gallery = encoding[:num_queries], encoding[num_queries:].tocsc()
        self._lam = options.lam

    def __call__(self, rows: slice) -> np.ndarray:
        """``(len(rows), G)`` float32 distances; the next call overwrites them."""
        from resight.common.kernels import run_rows
        from resight.evaluation import _kernels

        final = self._distance_rows(rows)
        query, gallery = self._query, self._gallery

        def work(start: int, stop: int) -> None:
            _kernels.add_jaccard(
                query.indptr,
                query.indices,
                query.data,
                gallery.indptr,
                gallery.indices,
                gallery.data,
                self._lam,
                self._scale,
                rows.start,
                final,
                start,
                stop,
            )

        run_rows(work, len(final), chunk=32)
        return final

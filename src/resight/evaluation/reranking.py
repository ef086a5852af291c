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

With ``cameras`` V is that of the camera-aware Jaccard distance (Chen et al., "CA-Jaccard", CVPR 2024,
:func:`resight.clustering.camera_jaccard`); the rest stays as it is.

V has sparse rows of tens to hundreds of entries. Final distances are computed for one block of queries at a time, from
an inverted index of the gallery's rows of V. So no array of N×N is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from resight.common.checks import flag, number, whole
from resight.errors import ResightError
from resight.evaluation.distances import BLOCK_BYTES, DistanceRows, Rows, check_features, unit_rows

if TYPE_CHECKING:
    import scipy.sparse as sp

    from resight.clustering import UnitRows


@dataclass(frozen=True)
class RerankOptions:
    """Settings of k-reciprocal re-ranking; the defaults are those of Zhong et al. (CVPR 2017) for Market-1501.

    Attributes:
        k1: Length of the neighbour lists, the crop itself not counted.
        k2: Neighbours whose weights are averaged, the crop itself counted.
        lam: Weight of the original distance, between 0 and 1; the Jaccard distance has the weight ``1 - lam``.
        cameras: Whether neighbours are searched for within and across cameras (Chen et al., CVPR 2024), in place of
            ``k1`` and ``k2``. This uses camera labels, of at least 3 cameras. The defaults of the four settings that
            follow are published.
        intra_k1: With ``cameras``: neighbours within the camera, the crop itself not counted.
        inter_k1: With ``cameras``: neighbours across cameras, less one.
        intra_k2: With ``cameras``: crops within the camera whose weights are averaged, the crop itself counted.
        inter_k2: With ``cameras``: crops of other cameras whose weights are averaged.

    Raises:
        ResightError: A setting is out of range.
    """

    k1: int = 20
    k2: int = 6
    lam: float = 0.3
    cameras: bool = False
    intra_k1: int = 5
    inter_k1: int = 20
    intra_k2: int = 2
    inter_k2: int = 4

    def __post_init__(self) -> None:
        for name in ("k1", "k2", "intra_k1", "inter_k1", "intra_k2", "inter_k2"):
            least = 0 if name == "inter_k2" else 1
            value = whole(f"{name} of the re-ranking", getattr(self, name), least=least, most=10**9)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "lam", number("lam of the re-ranking", self.lam, least=0, most=1))
        object.__setattr__(self, "cameras", flag("cameras of the re-ranking", self.cameras))

    def to_dict(self) -> dict[str, float]:
        """The settings that are used, as plain numbers."""
        names = ("intra_k1", "inter_k1", "intra_k2", "inter_k2") if self.cameras else ("k1", "k2")
        return {name: getattr(self, name) for name in (*names, "lam")}


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


def _camera_encoding(
    rows: UnitRows, camera: np.ndarray | None, options: RerankOptions, device: str | None
) -> sp.csr_matrix:
    """V of the camera-aware Jaccard distance."""
    from resight.clustering.camera_jaccard import LEAST_CAMERAS, camera_neighbours, camera_weights

    known = 0 if camera is None else len(np.unique(camera))
    if known < LEAST_CAMERAS:
        there = f"there are {known}" if known else "none are known"
        raise ResightError(
            f"Re-ranking by neighbours within and across cameras needs crops of at least {LEAST_CAMERAS} cameras, and "
            f"{there}: re-rank without cameras."
        )
    size = len(rows)
    found = camera_neighbours(
        rows,
        camera,
        intra_k1=min(options.intra_k1, size),
        inter_k1=min(options.inter_k1, size),
        search="exact",
        device=device,
    )
    return camera_weights(found, intra_k2=options.intra_k2, inter_k2=options.inter_k2)


class Reranking:
    """Distances after re-ranking, computed for the queries asked for.

    Args:
        query: Q rows of D numbers.
        gallery: G rows of D numbers.
        options: The settings.
        device: Where neighbours are searched and distances are computed: ``None`` or ``"cpu"``, or a device of PyTorch.
        camera: ``(Q + G,)`` cameras of the queries, then of the gallery; used only with ``options.cameras``.

    Raises:
        ResightError: A feature is not finite or all zeros, the device is not available, or the options ask for cameras
            and there are fewer than 3.
    """

    def __init__(
        self,
        query: Rows,
        gallery: Rows,
        options: RerankOptions,
        device: str | None = None,
        camera: np.ndarray | None = None,
    ) -> None:
        from resight.clustering import UnitRows, nearest_neighbours, neighbour_weights

        num_queries, size = len(query), len(query) + len(gallery)
        features = np.empty((size, query.dim), dtype=np.float32)
        unit_rows(query, "query", out=features[:num_queries])
        _, mark = unit_rows(gallery, "gallery", out=features[num_queries:])
        self._distance_rows = DistanceRows(features[:num_queries], features[num_queries:], mark, device)
        depth = min(options.k1 + 1, size)
        listed = 1 if options.cameras else min(max(depth, options.k2), size)
        neighbours = nearest_neighbours(UnitRows(features), listed, search="exact", furthest=True, device=device)
        self._scale = np.asarray(neighbours.furthest, dtype=np.float32)
        self._scale[self._scale == 0] = 1
        if options.cameras:
            encoding = _camera_encoding(UnitRows(features), camera, options, device)
        else:
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

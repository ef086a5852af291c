"""DBSCAN on a sparse matrix of distances.

Ester, Kriegel, Sander and Xu, "A density-based algorithm for discovering clusters", KDD 1996.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from resight.errors import ResightError


def dbscan(distances: sp.csr_matrix, eps: float, min_samples: int = 4) -> np.ndarray:
    """Cluster by density: the labels of ``sklearn.cluster.DBSCAN(metric="precomputed")``, numbering included.

    A crop with at least ``min_samples`` crops within ``eps``, itself counted, is a core crop. Core crops within
    ``eps`` of each other share a cluster; clusters are numbered by their lowest-index core crop. A crop that is not
    core joins the lowest-numbered cluster that reaches it; one that none reaches is an outlier.

    Args:
        distances: ``(N, N)`` symmetric sparse matrix. A stored entry is a distance, zero included; a pair that is
            not stored is too far apart, whatever ``eps``.
        eps: Largest distance between neighbours, compared in the precision of ``distances``.
        min_samples: Neighbours that make a core crop, itself counted.

    Returns:
        ``(N,)`` int64 labels, 0 … C-1, and -1 for outliers.

    Raises:
        ResightError: The matrix is not square, or a setting is out of range.
    """
    if not sp.issparse(distances) or distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise ResightError("DBSCAN needs a square sparse matrix of distances, one row a crop.")
    check_density(eps, min_samples)
    from resight.clustering import _kernels

    matrix = sp.csr_matrix(distances)
    kind = matrix.data.dtype.type if matrix.data.dtype.kind == "f" else np.float64
    return np.asarray(
        _kernels.density_labels(matrix.indptr, matrix.indices, matrix.data, kind(eps), int(min_samples)), np.int64
    )


def check_density(eps: float, min_samples: int) -> None:
    """Raise a sentence when ``eps`` or ``min_samples`` cannot be a DBSCAN setting."""
    if not eps > 0:
        raise ResightError(f"clustering.eps must be above 0, got {eps}.")
    if min_samples < 1:
        raise ResightError(f"clustering.min_samples must be at least 1, got {min_samples}.")

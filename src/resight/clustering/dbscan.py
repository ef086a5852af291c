"""DBSCAN on a sparse matrix of distances.

Ester, Kriegel, Sander and Xu, "A density-based algorithm for discovering clusters", KDD 1996.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from resight.common.checks import number, whole
from resight.errors import ResightError


def dbscan(distances: sp.csr_matrix, eps: float, min_samples: int = 4) -> np.ndarray:
    """Clusters crops by density (Ester et al., KDD 1996), with the labels of ``sklearn.cluster.DBSCAN``.

    A crop with at least ``min_samples`` crops within ``eps``, itself counted, is a core crop. Core crops within
    ``eps`` of each other share a cluster; clusters are numbered by their lowest-index core crop. A crop that is not
    core joins the lowest-numbered cluster with a core crop within ``eps``; without one, it is an outlier.

    Args:
        distances: ``(N, N)`` symmetric sparse matrix. A stored entry is a distance, zero included. A pair that is not
            stored is farther apart than any ``eps``.
        eps: Largest distance between neighbours, above 0, compared in the precision of ``distances``.
        min_samples: Number of neighbours that make a core crop, the crop itself counted; at least 1.

    Returns:
        ``(N,)`` int64 labels: 0…C−1, and -1 for outliers.

    Raises:
        ResightError: The matrix is not square, not sparse or has an entry that is no distance, or an argument is out of
            range.
    """
    eps, min_samples = check_density(eps, min_samples)
    matrix = check_distances("DBSCAN", distances)
    from resight.clustering import _kernels

    kind = matrix.data.dtype.type if matrix.data.dtype.kind == "f" else np.float64
    return np.asarray(
        _kernels.density_labels(matrix.indptr, matrix.indices, matrix.data, kind(eps), min_samples), np.int64
    )


def check_density(eps: float, min_samples: int) -> tuple[float, int]:
    """Both as plain numbers; a :class:`ResightError` unless ``eps`` is above 0 and ``min_samples`` at least 1."""
    return number("clustering.eps", eps, above=0), whole("clustering.min_samples", min_samples, most=2**31)


def check_distances(name: str, distances: sp.csr_matrix) -> sp.csr_matrix:
    """The matrix in rows; a :class:`ResightError` unless it is square and sparse and holds distances.

    Args:
        name: What needs them, for the sentence.
        distances: What was given.
    """
    if not sp.issparse(distances) or distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise ResightError(f"{name} needs a square sparse matrix of distances, one row per crop.")
    matrix = sp.csr_matrix(distances)
    if (
        not matrix.shape[0]
        or matrix.dtype.kind not in "fiu"
        or not (matrix.data >= 0).all()
        or np.isinf(matrix.data).any()
    ):
        raise ResightError(
            f"{name} needs distances of at least one crop that are numbers of at least 0; got shape {matrix.shape} of "
            f"{matrix.dtype}."
        )
    return matrix

"""Infomap on a sparse matrix of distances, as a second way to cluster.

Rosvall and Bergstrom, "Maps of random walks on complex networks reveal community structure", PNAS 2008. Cluster
Contrast's authors report it in place of DBSCAN (Dai et al. 2021, https://arxiv.org/abs/2103.11568).
"""

from __future__ import annotations

import importlib.util

import numpy as np
import scipy.sparse as sp

from resight.clustering.dbscan import check_density, check_distances
from resight.common.checks import whole
from resight.errors import ResightError


def infomap(distances: sp.csr_matrix, eps: float, min_samples: int = 4, *, seed: int = 0) -> np.ndarray:
    """Clusters crops by the map equation, on the graph of pairs within ``eps``.

    An edge weighs 1 − distance. The clusters are the modules among which a random walk on the graph is described in
    the fewest bits (two levels, one trial). A crop without an edge, or in a module of fewer than ``min_samples`` crops,
    is an outlier.

    The package's licence is GPL-3.0-or-later, so it is an extra that nothing else here needs.

    Args:
        distances: ``(N, N)`` symmetric sparse matrix, as :func:`~resight.clustering.jaccard_distance` gives it. A pair
            that is not stored has no edge.
        eps: Largest distance of an edge, above 0. Distances of 1 and more give no edge.
        min_samples: Crops of the smallest module that is a cluster; at least 1.
        seed: Seed of the search for modules. The same seed gives the same labels.

    Returns:
        ``(N,)`` int64 labels: 0…C−1, numbered by their lowest crop, and -1 for outliers.

    Raises:
        ResightError: The package is not installed, the matrix is not square or has an entry that is no distance, or an
            argument is out of range.
    """
    eps, min_samples = check_density(eps, min_samples)
    seed = whole("seed", seed, least=0, most=2**31 - 2)
    matrix = check_distances("Infomap", distances)
    require_infomap()
    from infomap import Network

    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    edge = (row < matrix.indices) & (matrix.data <= matrix.data.dtype.type(eps)) & (matrix.data < 1)
    labels = np.full(matrix.shape[0], -1, np.int64)
    module = np.full(matrix.shape[0], -1, np.int64)
    if edge.any():
        network = Network()
        links = (row[edge], matrix.indices[edge], 1 - matrix.data[edge].astype(np.float64))
        network.add_links(np.stack(links, axis=1))
        found = network.run(two_level=True, seed=seed + 1, num_trials=1).modules()
        module[np.fromiter(found.keys(), np.int64, len(found))] = np.fromiter(found.values(), np.int64, len(found))
    alone = np.flatnonzero(module < 0)
    module[alone] = module.max(initial=0) + 1 + np.arange(len(alone))
    _, first, own, size = np.unique(module, return_index=True, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(size >= min_samples)
    number = np.full(len(first), -1)
    number[kept[np.argsort(first[kept])]] = np.arange(len(kept))
    labels[:] = number[own.reshape(-1)]
    return labels


def require_infomap() -> None:
    """Raises a :class:`ResightError` if the package is not installed."""
    if importlib.util.find_spec("infomap") is None:
        raise ResightError(
            "clustering.clusterer=infomap needs a package that is not installed: pip install 'resight[infomap]'."
        )
